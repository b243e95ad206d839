"""The same on real libvirt hosts: the whole stack, each of its services told where to die."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import httpx
from pydantic import SecretStr

from events.ids import VmId
from infra.deploy.identities import seed_file
from infra.dev.stack import Stack
from infra.readmodel.engine import make_engine
from infra.readmodel.postgres import PostgresReadModel
from sim.settings import AuditSettings
from tests.crash.client import Client
from tests.crash.subject import Subject, none_held_up
from tests.crash.walk import Deaths, Walk, lives
from tests.e2e.world import qemu_of, world

SERVICES = ("scheduler", "projector", "api", "hostd")


@asynccontextmanager
async def a_real_world(say: Callable[[str], None]) -> AsyncIterator[Mapping[str, Walk]]:
    """Run a stack on real hosts with every service's ports wrapped; give a walk for each service."""
    async with world("libvirt") as stack:
        stack.children.restarts_max = 10_000
        named = {service: [service] for service in SERVICES} | {"hostd": [host.name for host in stack.hosts]}
        subjects = {service: [_wrapped(stack, name) for name in names] for service, names in named.items()}
        settings = AuditSettings(
            nats_url=stack.nats.url,
            nats_seed_file=seed_file(stack.keys, "auditor"),
            postgres_dsn=SecretStr(stack.postgres.dsn),
        )
        engine = make_engine(stack.postgres.dsn, "test")
        headers = {"Authorization": f"Bearer {stack.token}"}
        async with httpx.AsyncClient(base_url=f"{stack.url}/api/v1", headers=headers, timeout=15) as http:
            client = Client(http, PostgresReadModel(engine), settings, _counting(stack))
            yield {service: Walk(service, some, client, say) for service, some in subjects.items()}
        await engine.dispose()
        none_held_up(subject for some in subjects.values() for subject in some)


async def sampled(walks: Mapping[str, Walk], seed: int, count: int) -> Sequence[tuple[str, Deaths]]:
    """Choose *count* lives of one service; successive seeds walk through all lives of all services.

    One service a time: to learn the points of one takes two whole lives on emulated guests.
    """
    turn, which = divmod(seed, len(SERVICES))
    service = SERVICES[which]
    every = lives(await walks[service].learn(recordings=1))
    Random(0).shuffle(every)  # noqa: S311 - one order for all seeds
    return [(service, every[(turn * count + number) % len(every)]) for number in range(count)]


def _wrapped(stack: Stack, name: str) -> Subject:
    """Have the stack's supervisor start this service with its ports wrapped from now on."""
    child = stack.children.children[name]
    subject = Subject(name, stack.wanted.data / "control" / name, child.health_port)
    subject.prepare()
    child.args = [str(subject.folder), child.module, *child.args]
    child.module = "tests.crash.points"
    assert child.process is not None
    child.process.kill()
    return subject


def _counting(stack: Stack) -> Callable[[VmId], int]:
    """Count the QEMU processes that carry the VM's id."""

    def count(vm_id: VmId) -> int:
        found = 0
        for pid in qemu_of(stack):
            try:
                found += str(vm_id) in Path(f"/proc/{pid}/cmdline").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue  # It has just ended.
        return found

    return count
