"""The shell between the log's twin and the tables' twin: outages, rivals, repeats."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import pytest

from events import subjects
from events.codec import encode
from events.envelope import Origin, Sealed
from events.events import CommandEnded, Outcome
from events.ids import CommandId, EventId, Seq, VmId
from events.views import OperationState
from infra.eventlog.memory import Fault, MemoryLog, MemorySignals, MemoryStream
from infra.eventlog.port import Corrupt, Write
from infra.readmodel.memory import MemoryReadModel, MemoryTables
from infra.readmodel.port import Turn
from infra.runtime.health import Health
from services.projector.handler import (
    BATCH_BYTES_MAX,
    LOG_PART,
    PARKED_RAW_MAX,
    READ_BYTES,
    ROWS_PART,
    Projector,
    Source,
)
from tests.support.eventually import eventually, turns

SUBJECT = subjects.vm_ctl(VmId(UUID(int=1)))
WAIT_S = 5.0
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@dataclass
class World:
    evt: MemoryStream = field(default_factory=MemoryStream)
    dead: MemoryStream = field(default_factory=MemoryStream)
    tables: MemoryTables = field(default_factory=MemoryTables)
    signals: MemorySignals = field(default_factory=MemorySignals)
    health: Health = field(default_factory=lambda: Health(LOG_PART, ROWS_PART))

    async def write(self, number: int, body: bytes = b"nonsense") -> None:
        await MemoryLog(self.evt).append([Write(SUBJECT, UUID(int=number), body)], {})

    async def project(self) -> None:
        store = MemoryReadModel(self.tables)
        projector = Projector(
            store=store, dead=MemoryLog(self.dead), signals=self.signals, health=self.health
        )
        await projector.run(Source("EVT", subjects.EVT_ALL, MemoryLog(self.evt), keep=True))

    @asynccontextmanager
    async def projector(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.project())
            try:
                yield
            finally:
                task.cancel()

    async def until(self, holds: Callable[[], bool]) -> None:
        await eventually(holds, "what was projected", WAIT_S)

    def at(self, seq: int) -> Callable[[], bool]:
        return lambda: self.tables.checkpoints.get("EVT") == seq


@pytest.fixture
def world() -> World:
    return World()


async def test_a_letter_is_parked_once_however_often_it_is_tried(world: World) -> None:
    world.dead.faults.append(Fault.ANSWER_LOST)
    await world.write(1)
    async with world.projector():
        await world.until(lambda: bool(world.dead.messages))
        world.tables.away = True
        await world.until(lambda: "told" in world.health.report()[ROWS_PART])
    assert world.tables.checkpoints == {}
    world.tables.away = False
    async with world.projector():
        await world.until(world.at(1))
    assert len(world.dead.messages) == 1


async def test_a_letter_whose_answer_was_lost_is_parked_once(world: World) -> None:
    world.dead.faults.extend([Fault.NOT_STORED, Fault.ANSWER_LOST, Fault.FULL])
    await world.write(1)
    async with world.projector():
        await world.until(world.at(1))
    assert len(world.dead.messages) == 1


async def test_a_letter_always_fits_into_a_message(world: World) -> None:
    await world.write(1, b"x" * (2 * PARKED_RAW_MAX))
    async with world.projector():
        await world.until(world.at(1))
    (parked,) = world.dead.messages
    assert len(parked.body) < 1024 * 1024
    assert json.loads(parked.body)["bytes"] == 2 * PARKED_RAW_MAX
    assert len(world.tables.log[1][1]) == 2 * PARKED_RAW_MAX


async def test_an_outage_is_survived_and_seen(world: World) -> None:
    await world.write(1)
    async with world.projector():
        await world.until(world.at(1))
        assert world.health.ready
        world.tables.away = True
        await world.write(2)
        await world.until(lambda: not world.health.ready)
        await world.write(3)
        world.tables.away = False
        await world.until(world.at(3))
        await world.until(lambda: world.health.ready)
    assert sorted(world.tables.log) == [1, 2, 3]


async def test_one_that_was_overtaken_begins_again_from_the_checkpoint(world: World) -> None:
    await world.write(1)
    async with world.projector():
        await world.until(world.at(1))
        world.tables.checkpoints["EVT"] = Seq(2)  # somebody else has projected the next one
        await world.write(2)
        await world.write(3)
        await world.until(world.at(3))
    assert sorted(world.tables.log) == [1, 3]


async def test_a_log_that_ends_before_the_checkpoint_is_corrupt(world: World) -> None:
    await world.write(1)
    world.tables.checkpoints["EVT"] = Seq(9)
    with pytest.raises(Corrupt):
        await world.project()


async def test_large_messages_are_stored_turn_by_turn_in_order(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[list[int]] = []

    async def advance(store: MemoryReadModel, turn: Turn) -> None:
        taken.append([event.seq for event, _ in turn.logged])
        await stored(store, turn)

    stored = MemoryReadModel.advance
    monkeypatch.setattr(MemoryReadModel, "advance", advance)
    sizes = [BATCH_BYTES_MAX // 2, BATCH_BYTES_MAX // 2, 1, BATCH_BYTES_MAX + 1, 1, BATCH_BYTES_MAX]
    for number, size in enumerate(sizes, 1):
        await world.write(number, b"x" * size)
    async with world.projector():
        await world.until(world.at(6))
    assert taken == [[1, 2], [3], [4], [5], [6]]
    assert [len(raw) for _, raw in world.tables.log.values()] == sizes


async def test_a_large_batch_leaves_turns_to_others(world: World) -> None:
    for number in range(1, 101):
        await world.write(number, b"x" * (READ_BYTES // 10))
    looks: list[int] = []

    async def look_on() -> None:
        while len(world.dead.messages) < 100:
            looks.append(len(world.dead.messages))
            await turns(1)

    async with world.projector():
        await look_on()
    assert len(set(looks)) > 2, "nobody else had a turn while the batch was read"


async def test_who_waits_is_told_of_an_end_once_it_is_in_the_row(world: World) -> None:
    operation_id, told = CommandId(UUID(int=5)), []

    def heard(subject: str, _body: bytes) -> None:
        told.append((subject, world.tables.operations[operation_id].state))

    await world.signals.listen("ended.*", heard)
    ended = CommandEnded(command_id=operation_id, outcome=Outcome.SUCCEEDED)
    origin = Origin(source="roost/scheduler", actor="ann", causation=operation_id, correlation=operation_id)
    sealed = Sealed(id=EventId(UUID(int=1)), subject=SUBJECT, time=NOON, origin=origin, message=ended)
    await world.write(1, encode(sealed))
    async with world.projector():
        await world.until(lambda: bool(told))
    assert told == [(subjects.ended(operation_id), OperationState.SUCCEEDED)]
