"""The API as a process, on a real log and real tables."""

import asyncio
import signal
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from events import codec, subjects
from events.commands import (
    Command,
    DeleteVm,
    PauseVm,
    PowerOffVm,
    RebootVm,
    ResetVm,
    ResumeVm,
    StartVm,
    StopVm,
    UpdateVm,
)
from events.ids import Seq, VmId, command_id, new_vm_id
from events.spec import RunOnce
from events.views import HostView, Keys, Rows, VmView
from events.wishes import NOTHING_WISHED
from infra.deploy.identities import seed_file
from infra.deploy.streams import ensure_streams, streams
from infra.embedded.process import free_port
from infra.eventlog.connection import closer, connect
from infra.eventlog.jetstream import JetStreamLog
from infra.readmodel.engine import make_engine
from infra.readmodel.port import Turn
from infra.readmodel.writer import PostgresProjectionStore
from infra.runtime.ids import random_id
from tests.support.eventually import eventually
from tests.support.postgres import PostgresServer
from tests.support.process import running_service
from tests.support.stack import NatsServer
from tests.unit.api.rows import HOST, a_host, a_vm

GIB = 1024**3
READY_S = 20.0
TOKEN = "let-me-in"
WEB = {"name": "web-01", "vcpus": 1, "memory_mib": 512, "image": "tiny"}
VM = new_vm_id(command_id("admin", "some vm"))


PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass
class World:
    """One running API, what it stands on, and a client that is signed in."""

    http: httpx.AsyncClient
    commands: JetStreamLog
    process: asyncio.subprocess.Process
    dsn: str

    async def start(self, vm: VmId, key: str) -> httpx.Response:
        path = f"/api/v1/vms/vm_{vm}/actions/start"
        return await self.http.post(path, headers={"Idempotency-Key": key})


@pytest.fixture
async def world(nats_server: NatsServer, postgres_dsn: str, tmp_path: Path) -> AsyncIterator[World]:
    client = await connect(
        nats_server.url, seed_file(nats_server.keys, "bootstrap"), "bootstrap", lambda _: None
    )
    await ensure_streams(client, streams(GIB, GIB, replicas=1))
    (tmp_path / "token").write_text(TOKEN)
    port = free_port()
    settings = {
        "ROOST_NATS_URL": nats_server.url,
        "ROOST_NATS_SEED_FILE": str(seed_file(nats_server.keys, "api")),
        "ROOST_POSTGRES_DSN": postgres_dsn,
        "ROOST_ADMIN_TOKEN_FILE": str(tmp_path / "token"),
        "ROOST_API_PORT": str(port),
    }
    headers = {"Authorization": f"Bearer {TOKEN}"}
    url = f"http://127.0.0.1:{port}"
    async with (
        running_service("services.api.main", settings=settings, said=tmp_path / "api.log") as process,
        # Without TLS: to read the certificates of the world takes 0.1 s of our loop.
        httpx.AsyncClient(base_url=url, headers=headers, timeout=30, verify=PLAIN) as http,
    ):
        await answers(http, "/readyz", 200)
        yield World(http, JetStreamLog(client, "CMD", random_id), process, postgres_dsn)
    await closer(client)()


async def answers(http: httpx.AsyncClient, path: str, status: int) -> None:
    """Wait until *path* answers with *status*."""

    async def there() -> bool:
        try:
            return (await http.get(path)).status_code == status
        except httpx.TransportError:
            return False  # Not listening yet.

    await eventually(there, f"{path} answers {status}", READY_S)


async def test_a_command_lies_on_the_log_once_whatever_is_sent_again(world: World) -> None:
    key = {"Idempotency-Key": "k1"}
    first = await world.http.post("/api/v1/vms", json=WEB, headers=key)
    again = await world.http.post("/api/v1/vms", json=WEB, headers=key)
    other = await world.http.post("/api/v1/vms", json=WEB | {"vcpus": 2}, headers=key)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    assert (other.status_code, other.json()["code"]) == (422, "key_reused")
    assert await world.commands.last_seq() == 1
    operation = command_id("admin", "k1")
    stored = await world.commands.load(subjects.command(new_vm_id(operation), operation))
    assert stored is not None
    assert codec.decode(stored.body)[1].TYPE == "vm.create"


async def test_an_unknown_vm_is_not_found(world: World) -> None:
    answer = await world.start(VM, "k1")
    assert (answer.status_code, answer.json()["code"]) == (404, "no_such_vm")
    assert await world.commands.last_seq() == 0


ASKED: list[tuple[str, str, dict[str, Any] | None, Command]] = [
    ("PATCH", "", {"vcpus": 2, "machine": None}, UpdateVm(vm_id=VM, patch={"vcpus": 2, "machine": None})),
    ("POST", "/actions/start", {"paused": True}, StartVm(vm_id=VM, paused=True)),
    ("POST", "/actions/start", {"once": {"host": "host-1"}}, StartVm(vm_id=VM, once=RunOnce(host_id=HOST))),
    ("POST", "/actions/stop", {"grace_s": 5}, StopVm(vm_id=VM, grace_s=5)),
    ("POST", "/actions/power-off", None, PowerOffVm(vm_id=VM)),
    ("POST", "/actions/reboot", None, RebootVm(vm_id=VM)),
    ("POST", "/actions/reset", None, ResetVm(vm_id=VM)),
    ("POST", "/actions/pause", None, PauseVm(vm_id=VM)),
    ("POST", "/actions/resume", None, ResumeVm(vm_id=VM)),
    ("DELETE", "?keep_disks=true", None, DeleteVm(vm_id=VM, keep_disks=True)),
]


async def test_each_verb_lies_on_the_log_as_it_was_asked_for(world: World) -> None:
    row, host = a_vm(VM), a_host(HOST)
    await known(world.dsn, row, host)
    path = f"/api/v1/vms/vm_{VM}"
    for number, (method, action, body, command) in enumerate(ASKED):
        key = {"Idempotency-Key": f"k{number}"}
        answer = await world.http.request(method, f"{path}{action}", json=body, headers=key)
        assert (answer.status_code, answer.json()["verb"]) == (202, command.VERB), answer.text
        stored = await world.commands.load(subjects.command(VM, command_id("admin", f"k{number}")))
        assert stored is not None
        assert codec.decode(stored.body)[1] == command
    shown = (await world.http.get(path)).json()
    wished = {"highly_available": False, "placement": NOTHING_WISHED.model_dump(mode="json")}
    assert (shown["spec"], shown["effective"]) == (row.spec.model_dump(mode="json") | wished, None)
    renamed = await world.http.patch(path, json={"name": "other"})
    assert (renamed.status_code, renamed.json()["code"]) == (422, "cannot_rename")
    assert await world.commands.last_seq() == len(ASKED)


async def known(dsn: str, vm: VmView, host: HostView) -> None:
    """Put rows where the projector would."""
    engine = make_engine(dsn, "test")
    store = PostgresProjectionStore(engine)
    assert await store.acquire()
    rows = Rows(vms={vm.vm_id: vm}, hosts={host.host_id: host})
    await store.advance(Turn("EVT", Seq(0), Seq(1), Keys(), lambda _: (rows, ())))
    await store.release()
    await engine.dispose()


async def test_losing_postgresql_refuses_no_command(world: World, postgres_server: PostgresServer) -> None:
    postgres_server.kill()
    try:
        await answers(world.http, "/readyz", 503)
        assert (await world.start(VM, "k1")).status_code == 202
        other = await world.start(new_vm_id(command_id("admin", "another vm")), "k1")
        assert (other.status_code, other.json()["code"]) == (422, "key_reused")
        reading = await world.http.get("/api/v1/vms")
        assert (reading.status_code, reading.json()["code"]) == (503, "read_model_unavailable")
    finally:
        postgres_server.start()
    await answers(world.http, "/api/v1/vms", 200)


async def test_it_outlives_its_log(world: World, nats_server: NatsServer) -> None:
    nats_server.restart()
    await answers(world.http, "/readyz", 200)
    assert (await world.http.post("/api/v1/vms", json=WEB)).status_code == 202


async def test_answers_on_a_kept_connection_are_not_held_back(world: World) -> None:
    loop = asyncio.get_running_loop()
    took = []
    for _ in range(20):
        began = loop.time()
        await world.http.get("/livez")
        took.append(loop.time() - began)
    assert sorted(took)[10] < 0.03, "is TCP_NODELAY set? an acknowledgement is delayed by 40 ms"


async def test_it_ends_in_order_when_told_to(world: World) -> None:
    world.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(10):
        assert await world.process.wait() == 0
