"""The projector as a process, with a real log and real tables."""

import asyncio
import base64
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events import subjects
from events.codec import encode
from events.commands import Command, CreateVm
from events.envelope import Origin, Sealed
from events.events import CommandEnded, Event, Outcome, VmCreated, VmPlaced
from events.facts import PauseCause, RunFact, VmBooting, VmPaused
from events.ids import CommandId, EventId, Seq, VmId
from events.spec import VmSpec
from events.values import Desired, VmPhase
from events.views import OperationState
from events.vm import Vm
from infra.deploy.identities import seed_file
from infra.deploy.streams import ensure_streams, streams
from infra.eventlog.connection import closer, connect
from infra.eventlog.jetstream import JetStreamLog
from infra.eventlog.port import Write
from infra.readmodel.door import transaction
from infra.readmodel.engine import make_engine
from infra.readmodel.postgres import PostgresReadModel
from infra.runtime.errors import Unavailable
from infra.runtime.ids import random_id
from tests.compat.make_samples import (
    COMMAND,
    FULL_SPEC,
    GENERATION,
    HOST,
    PLACEMENT,
    RUNNING_VM,
    SPEC,
    VM,
    messages,
)
from tests.support.builders import an_effective
from tests.support.eventually import eventually as wait_until
from tests.support.postgres import PostgresServer
from tests.support.stack import NatsServer

GIB = 1024**3
WAIT_S = 25.0
"""An event is in its row within a few milliseconds; the rest is for a machine busy with other tests."""


@dataclass
class World:
    evt: JetStreamLog
    cmd: JetStreamLog
    dead: JetStreamLog
    nats: NatsServer
    postgres: PostgresServer
    dsn: str
    engine: AsyncEngine
    known: PostgresReadModel

    @asynccontextmanager
    async def projector(self) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run a projector; end it if the test has not."""
        settings = {
            "ROOST_NATS_URL": self.nats.url,
            "ROOST_NATS_SEED_FILE": str(seed_file(self.nats.keys, "projector")),
            "ROOST_POSTGRES_DSN": self.dsn,
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.projector.main",
            env=os.environ | settings,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def position_is(self, stream: str, seq: Seq) -> None:
        """Wait until the projection of *stream* has come to *seq*."""

        async def there() -> bool:
            return await self.known.position(stream) >= seq

        await eventually(there)

    async def count(self, table: str) -> int:
        async with transaction(self.engine) as connection:
            return int(await connection.scalar(text(f"SELECT count(*) FROM {table}")) or 0)  # noqa: S608


@pytest.fixture
async def world(nats_server: NatsServer, postgres_server: PostgresServer) -> AsyncIterator[World]:
    dsn = await postgres_server.new_database()
    client = await connect(
        nats_server.url, seed_file(nats_server.keys, "bootstrap"), "bootstrap", lambda _: None
    )
    await ensure_streams(client, streams(GIB, GIB, 1))
    engine = make_engine(dsn, "test")
    evt, cmd, dead = (JetStreamLog(client, name, random_id) for name in ("EVT", "CMD", "DEAD"))
    yield World(evt, cmd, dead, nats_server, postgres_server, dsn, engine, PostgresReadModel(engine))
    await engine.dispose()
    await closer(client)()


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait until *holds*; PostgreSQL may be away in between."""

    async def look() -> bool:
        try:
            return await holds()
        except Unavailable:
            return False

    await wait_until(look, "what was projected", WAIT_S)


def vm(number: int) -> Vm:
    spec = VmSpec(name=f"vm-{number}", vcpus=1, memory_mib=64, image="tiny")
    return Vm(vm_id=VmId(UUID(int=number)), spec=spec, desired=Desired.STOPPED)


def command_of(number: int) -> CommandId:
    return CommandId(UUID(int=10_000 + number))


def sealed(subject: str, message: Event | Command, operation: CommandId, event_id: UUID) -> Write:
    body = encode(
        Sealed(
            id=EventId(event_id),
            subject=subject,
            time=datetime(2026, 1, 1, tzinfo=UTC),
            origin=Origin(source="test", actor="ann", causation=operation, correlation=operation),
            message=message,
        )
    )
    return Write(subject, event_id, body)


def created(number: int) -> list[Write]:
    """What the scheduler writes when a VM is created."""
    one, operation, ctl = vm(number), command_of(number), subjects.vm_ctl(VmId(UUID(int=number)))
    ended = CommandEnded(command_id=operation, outcome=Outcome.SUCCEEDED, vm=one)
    return [sealed(ctl, message, operation, random_id()) for message in (VmCreated(vm=one), ended)]


def asked(number: int) -> Write:
    command = CreateVm(vm_id=VmId(UUID(int=number)), spec=vm(number).spec)
    operation = command_of(number)
    return sealed(subjects.command(command.vm_id, operation), command, operation, operation)


async def create(world: World, numbers: Sequence[int]) -> Seq:
    """Tell of one VM after the other, each with its command; give the last event's place."""
    last = Seq(0)
    for number in numbers:
        await world.cmd.append([asked(number)], {})
        writes = created(number)
        last = await world.evt.append(writes, {writes[0].subject: Seq(0)})
    return last


async def everything_is_whole(world: World, count: int) -> None:
    """No row is lost, none is doubled, and every operation has both of its halves."""
    await world.position_is("EVT", Seq(2 * count))
    await world.position_is("CMD", Seq(count))
    assert [view.vm_id.int for view in await world.known.vms()] == list(range(1, count + 1))
    operations = await world.known.operations()
    assert sorted(view.operation_id for view in operations) == [command_of(n) for n in range(1, count + 1)]
    assert {(view.verb, view.state, view.requested_by) for view in operations} == {
        ("create", OperationState.SUCCEEDED, "ann")
    }
    assert await world.count("event_log") == await world.count("operation_steps") == 2 * count
    history = await world.known.history(after=Seq(0))
    assert [event.seq for event in history] == list(range(1, 2 * count + 1))


async def test_what_nobody_can_read_is_parked_and_the_stream_goes_on(world: World) -> None:
    subject = subjects.vm_ctl(VmId(UUID(int=9)))
    await create(world, [1])
    bad = Write(subject, random_id(), b"\xffnonsense")
    bad_seq = await world.evt.append([bad], {})
    await world.cmd.append(
        [Write(subjects.command(VmId(UUID(int=9)), command_of(9)), random_id(), b"{}")], {}
    )
    last = await create(world, [2])
    async with world.projector():
        await world.position_is("EVT", last)
        await world.position_is("CMD", Seq(3))
        assert [view.vm_id.int for view in await world.known.vms()] == [1, 2]
        letters = {
            subject: await world.dead.load(subject)
            for subject in (subjects.dead("EVT"), subjects.dead("CMD"))
        }
        evt = letters["dead.evt"]
        assert evt is not None
        assert letters["dead.cmd"] is not None
        letter = json.loads(evt.body)
        assert (letter["stream"], letter["seq"], letter["subject"]) == ("EVT", bad_seq, subject)
        assert "no envelope" in letter["reason"]
        assert base64.b64decode(letter["raw"]) == bad.body
        (logged,) = await world.known.history(vm_id=VmId(UUID(int=9)), after=Seq(0))
        assert (logged.seq, logged.event_id, logged.body) == (bad_seq, bad.event_id, None)


async def test_every_type_of_the_language_is_projected_and_none_is_parked(world: World) -> None:
    """In the order of the samples, then the facts of a run once more on a VM that is placed."""
    told = list(messages())
    again = [(subjects.vm_ctl(VM), placed()), *((at, one) for at, one in told if isinstance(one, RunFact))]
    end = VmBooting(vm_id=VM, host_id=HOST, generation=GENERATION, effective=an_effective())
    no_space = {"cause": PauseCause.NO_SPACE, "responding": False}
    pause = VmPaused(vm_id=VM, host_id=HOST, generation=GENERATION, **no_space)
    fact = subjects.vm_fact(VM, HOST)
    for subject, message in [*told, *again, (fact, end), (fact, pause)]:
        log = world.cmd if isinstance(message, Command) else world.evt
        id_ = random_id()
        operation = CommandId(id_) if log is world.cmd else COMMAND
        at = subjects.command(VM, operation) if log is world.cmd else subject
        await log.append([sealed(at, message, operation, id_)], {})
    async with world.projector():
        await world.position_is("EVT", await world.evt.last_seq())
        await world.position_is("CMD", await world.cmd.last_seq())
    assert await world.dead.last_seq() == 0
    row = await world.known.vm(VM)
    assert row is not None
    assert (row.phase, row.pause_cause, row.responding) == (VmPhase.PAUSED, PauseCause.NO_SPACE, False)
    assert (row.spec, row.running) == (FULL_SPEC, SPEC)
    assert row.effective == an_effective()
    assert row.last_failure is not None


def placed() -> VmPlaced:
    """The VM of the samples, on its host in its generation, with all that a VM can have."""
    return VmPlaced(vm=RUNNING_VM, placement=PLACEMENT, considered=1)


async def test_postgresql_killed_and_started_again_while_events_flow(world: World) -> None:
    async with world.projector() as projector:
        await world.position_is("EVT", await create(world, [1]))
        async with asyncio.TaskGroup() as flow:
            flow.create_task(create(world, range(2, 101)))
            await world.position_is("EVT", Seq(10))
            world.postgres.kill()
            seen = await world.evt.last_seq()

            async def flowed_on() -> bool:
                return await world.evt.last_seq() > seen

            await wait_until(flowed_on, "events flow while PostgreSQL is away")
            world.postgres.start()
        await everything_is_whole(world, 100)
        assert projector.returncode is None


async def test_a_projector_killed_again_and_again_loses_and_doubles_nothing(world: World) -> None:
    async with asyncio.TaskGroup() as flow:
        flow.create_task(create(world, range(1, 151)))
        for after in (Seq(10), Seq(90), Seq(160)):
            async with world.projector() as projector:
                await world.position_is("EVT", after)
                projector.send_signal(signal.SIGKILL)
                await projector.wait()
    async with world.projector():
        await everything_is_whole(world, 150)


async def test_of_two_projectors_one_is_active_and_the_other_takes_over(world: World) -> None:
    async with world.projector() as first:
        await world.position_is("EVT", await create(world, range(1, 11)))
        async with world.projector() as second:
            await world.position_is("EVT", await create(world, range(11, 21)))
            assert (first.returncode, second.returncode) == (None, None)
            async with transaction(world.engine) as connection:
                holders = await connection.scalar(
                    text(
                        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
                        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
                    )
                )
            assert holders == 1
            first.terminate()
            assert await first.wait() == 0
            await create(world, range(21, 31))
            await everything_is_whole(world, 30)


async def test_a_log_that_ends_before_the_checkpoint_stops_the_projector_loudly(world: World) -> None:
    await create(world, [1])
    async with transaction(world.engine) as connection:
        await connection.execute(text("UPDATE checkpoint SET seq = 100 WHERE stream = 'EVT'"))
    async with world.projector() as projector, asyncio.timeout(WAIT_S):
        assert await projector.wait() not in {0, None}
