"""`roost log verify` on a live system: clean while it runs, and each damage is found and named."""

from collections.abc import AsyncIterator
from uuid import UUID, uuid5

import asyncpg
import pytest
import pytest_asyncio

from events import codec
from events.envelope import Origin, Sealed
from events.events import CommandEnded
from events.ids import NAMESPACE, EventId
from infra.deploy.identities import seed_file
from infra.dev.stack import Stack
from infra.eventlog.connection import closer, connect
from infra.eventlog.jetstream import JetStreamLog
from infra.eventlog.port import Write
from infra.runtime.ids import random_id
from tests.e2e.world import done, in_phase, verified, vm, world
from tests.support.builders import NOON

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(180),
    pytest.mark.drives_processes,
]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stack() -> AsyncIterator[Stack]:
    async with world("sim", whole=False) as running:
        for name in ("one", "two"):
            await done(running, *f"vm create {name} --image tiny --cpu 1 --memory 128M".split())
            await done(running, "vm", "start", name)
        await in_phase(running, "one", "running")
        await done(running, "vm", "stop", "two")
        yield running


async def test_a_live_system_is_clean(stack: Stack) -> None:
    said = await verified(stack)
    assert (said.code, said.err) == (0, ""), said
    assert "2 hosts, 2 VMs" in said.out
    assert "NO" not in said.out


@pytest.mark.parametrize(
    ("damage", "mend", "told"),
    [
        (
            "UPDATE vms SET phase = 'stopped' WHERE name = 'one'",
            "UPDATE vms SET phase = 'running' WHERE name = 'one'",
            "phase is <VmPhase.STOPPED: 'stopped'>, not <VmPhase.RUNNING: 'running'>",
        ),
        ("UPDATE hosts SET vms = vms + 1", "UPDATE hosts SET vms = vms - 1", "vms is"),
        (
            "UPDATE event_log SET raw = raw || ' '::bytea WHERE seq = 5",
            "UPDATE event_log SET raw = substring(raw FROM 1 FOR length(raw) - 1) WHERE seq = 5",
            "event 5 on",
        ),
        (
            "UPDATE event_log SET seq = -seq WHERE seq = 5",
            "UPDATE event_log SET seq = -seq WHERE seq = -5",
            "event 5 on",
        ),
        (
            "UPDATE operation_steps SET type = 'x' || type",
            "UPDATE operation_steps SET type = substring(type FROM 2)",
            "step",
        ),
    ],
)
async def test_a_damaged_table_is_found(stack: Stack, damage: str, mend: str, told: str) -> None:
    connection = await asyncpg.connect(stack.postgres.dsn.replace("+asyncpg", ""))
    try:
        await connection.execute(damage)
        said = await verified(stack)
        await connection.execute(mend)
    finally:
        await connection.close()
    assert said.code == 1
    assert told in said.out, said.out
    assert (await verified(stack)).code == 0


async def test_a_command_that_ends_again_is_found(stack: Stack) -> None:
    """Last, for what is in the log stays there."""
    shown = await vm(stack, "two")
    vm_id = UUID(shown["id"].removeprefix("vm_"))
    client = await connect(stack.nats.url, seed_file(stack.keys, "bootstrap"), "bootstrap", lambda _: None)
    log = JetStreamLog(client, "EVT", random_id)
    subject = f"evt.vm.{vm_id}.ctl"
    before = await log.load(subject)
    assert before is not None
    _, last = codec.decode(before.body)
    assert isinstance(last, CommandEnded)
    event_id = EventId(uuid5(NAMESPACE, "again"))
    origin = Origin(source="roost/test", actor="test", causation=last.command_id, correlation=last.command_id)
    sealed = Sealed(id=event_id, subject=subject, time=NOON, origin=origin, message=last)
    await log.append([Write(subject, event_id, codec.encode(sealed))], {subject: before.seq})
    await closer(client)()
    said = await verified(stack)
    assert said.code == 1
    assert f"command {last.command_id} ended 2 times" in said.out, said.out
