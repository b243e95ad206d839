"""All of roost on simulated hosts, one of its services under test, and a client that never gives up."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
from nats.aio.client import Client as NatsClient
from pydantic import SecretStr

from events.ids import HostId, VmId, simulated_host_id
from infra.deploy.accounts import COMMAND_CONSUMER
from infra.deploy.bootstrap import BootstrapSettings, bootstrap
from infra.deploy.identities import ensure_identity, seed_file
from infra.embedded.process import free_port
from infra.eventlog.connection import closer, connect
from infra.eventlog.jetstream import ask
from infra.readmodel.engine import make_engine
from infra.readmodel.postgres import PostgresReadModel
from infra.runtime.clock import SystemClock
from services.hostd.hypervisor.simulated import Guest
from sim.settings import AuditSettings
from tests.crash.client import Client
from tests.crash.subject import Subject, none_held_up
from tests.support.stack import NatsServer

HOSTS = 2
WITHIN_S = 60.0
ACK_WAIT_NS = 10**9
"""What a killed service had taken comes again after a second, not after thirty: waiting tests nothing."""
TOKEN = "a token of the tests"
MANIFEST = '{"kernel": "vmlinuz", "initrd": "initrd.img", "cmdline": ""}'


@dataclass(frozen=True)
class Service:
    """How the nursery starts one."""

    name: str
    module: str
    args: Sequence[str]
    env: Mapping[str, str]
    folder: str
    log: str
    health_port: int


@dataclass(frozen=True)
class World:
    """Running services, each of which may be told where to die."""

    subjects: Mapping[str, Subject]
    client: Client


async def found(nats: NatsServer, dsn: str) -> Sequence[HostId]:
    """Make the streams and tables of a world, and enrol its hosts. One at a time: see `upgrade`."""
    hosts = [simulated_host_id(number) for number in range(1, HOSTS + 1)]
    nats.hosts |= {host: ensure_identity(nats.keys, f"host-{host}") for host in hosts}
    nats.restart()
    seed = seed_file(nats.keys, "bootstrap")
    told = BootstrapSettings(nats_url=nats.url, nats_seed_file=seed, postgres_dsn=SecretStr(dsn))
    await bootstrap(told, hosts)
    client = await connect(nats.url, seed, "bootstrap", lambda _: None)
    for stream, consumer in [("CMD", COMMAND_CONSUMER), *(("EVT", f"host-{host}") for host in hosts)]:
        await _impatient(client, stream, consumer)
    await closer(client)()
    return hosts


@asynccontextmanager
async def a_world(nats: NatsServer, dsn: str, hosts: Sequence[HostId], folder: Path) -> AsyncIterator[World]:
    """Start the services of a world that was founded, and end them all whatever happens."""
    _images(folder / "images" / "tiny")
    (folder / "token").write_text(TOKEN)
    port = free_port()
    services = _services(nats, dsn, folder, port, hosts)
    subjects = {one.name: Subject(one.name, Path(one.folder), one.health_port) for one in services}
    for subject in subjects.values():
        subject.prepare()
    (folder / "services.json").write_text(json.dumps([asdict(one) for one in services]))
    engine = make_engine(dsn, "test")
    auditor = AuditSettings(
        nats_url=nats.url, nats_seed_file=seed_file(nats.keys, "auditor"), postgres_dsn=SecretStr(dsn)
    )
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with (
        _nursery(folder),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/api/v1", headers=headers, timeout=15) as http,
    ):
        for subject in subjects.values():
            await subject.ready()
        yield World(subjects, Client(http, PostgresReadModel(engine), auditor, _counting(folder / "hosts")))
    await engine.dispose()
    none_held_up(subjects.values())


@asynccontextmanager
async def _nursery(folder: Path) -> AsyncIterator[None]:
    with (folder / "nursery.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.crash.nursery", str(folder / "services.json")),
            stdin=asyncio.subprocess.PIPE,
            stderr=log,
            env={name: value for name, value in os.environ.items() if not name.startswith("ROOST_")},
        )
    try:
        yield
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await asyncio.wait_for(process.wait(), WITHIN_S)


def _services(nats: NatsServer, dsn: str, folder: Path, port: int, hosts: Sequence[HostId]) -> list[Service]:
    def service(name: str, identity: str, args: Sequence[str] = (), **env: str) -> Service:
        health = free_port()
        told = {
            "ROOST_NATS_URL": nats.url,
            "ROOST_NATS_SEED_FILE": str(seed_file(nats.keys, identity)),
            "ROOST_HEALTH_PORT": str(health),
            **env,
        }
        control, log = folder / "control" / name, folder / f"{name}.log"
        return Service(name, f"services.{name}.main", args, told, str(control), str(log), health)

    rows = {"ROOST_POSTGRES_DSN": dsn}
    api = {"ROOST_ADMIN_TOKEN_FILE": str(folder / "token"), "ROOST_API_PORT": str(port)}
    places = {"ROOST_STATE_DIR": str(folder / "hosts"), "ROOST_IMAGE_DIR": str(folder / "images")}
    return [
        service("projector", "projector", **rows),
        service("scheduler", "scheduler"),
        service("api", "api", **rows, **api),
        service("hostd", f"host-{hosts[0]}", ["--simulate", str(len(hosts))], **places),
    ]


def _counting(folder: Path) -> Callable[[VmId], int]:
    """Count guests in the files that simulated hosts keep; a guest that has ended says so there."""

    def count(vm_id: VmId) -> int:
        guests = list[Guest]()
        for path in folder.glob(f"*/guests/{vm_id}.json"):
            with suppress(FileNotFoundError):  # it has just been removed
                guests.append(Guest.model_validate_json(path.read_text()))
        now = SystemClock().now()
        return sum(one.ended is None and (one.shuts_down_at or now) >= now for one in guests)

    return count


async def _impatient(client: NatsClient, stream: str, consumer: str) -> None:
    found = (await ask(client, f"$JS.API.CONSUMER.INFO.{stream}.{consumer}", {}))["config"]
    body = {"stream_name": stream, "config": found | {"ack_wait": ACK_WAIT_NS}}
    await ask(client, f"$JS.API.CONSUMER.DURABLE.CREATE.{stream}.{consumer}", body)


def _images(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name, text in (("vmlinuz", "x"), ("initrd.img", "x"), ("image.json", MANIFEST)):
        (folder / name).write_text(text)
