"""The memory twin and the real log behave alike: one suite, two adapters."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from uuid import UUID

import pytest

from events.ids import Seq
from infra.deploy.identities import seed_file
from infra.deploy.streams import Narrowing, ensure_command_consumer, ensure_streams, streams
from infra.eventlog.connection import closer, connect
from infra.eventlog.consumer import JetStreamConsumer
from infra.eventlog.jetstream import JetStreamLog, ask, request
from infra.eventlog.memory import Fault, MemoryConsumer, MemoryLog, MemorySignals, MemoryStream
from infra.eventlog.port import (
    Conflict,
    Consumer,
    Corrupt,
    Delivery,
    EventLog,
    LogFull,
    Recorded,
    Signals,
    Write,
)
from infra.eventlog.signals import NatsSignals
from infra.runtime.errors import Unavailable
from infra.runtime.ids import random_id
from tests.support.eventually import eventually
from tests.support.stack import NatsServer

GIB = 1024**3
SMALL = 64 * 1024
WAIT_S = 5.0
A, B, C = "evt.vm.a.ctl", "evt.vm.b.ctl", "evt.host.h.ctl"


@dataclass
class World:
    log: EventLog
    commands: EventLog
    consumer: Consumer
    signals: Signals


@pytest.fixture(params=["memory", "jetstream"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "memory":
        evt, cmd = MemoryStream(), MemoryStream()
        consumer = MemoryConsumer(cmd, "cmd.>")
        yield World(MemoryLog(evt), MemoryLog(cmd), consumer, MemorySignals())
        return
    server: NatsServer = request.getfixturevalue("nats_server")
    client = await connect(server.url, seed_file(server.keys, "bootstrap"), "bootstrap", lambda _: None)
    await ensure_streams(client, streams(GIB, GIB, 1))
    await ensure_command_consumer(client)
    consumer_ = JetStreamConsumer(client, "CMD", "scheduler")
    yield World(
        JetStreamLog(client, "EVT", random_id),
        JetStreamLog(client, "CMD", random_id),
        consumer_,
        NatsSignals(client),
    )
    await consumer_.close()
    await closer(client)()


def write(subject: str, body: bytes = b"{}", event_id: UUID | None = None) -> Write:
    return Write(subject, event_id or random_id(), body)


async def drain(log: EventLog, after: Seq, patterns: Sequence[str], count: int) -> list[Recorded]:
    follower = log.follow(after, patterns)
    found: list[Recorded] = []
    while len(found) < count:
        more = await follower.next(count - len(found), WAIT_S)
        assert more, f"only {len(found)} of {count} came"
        found.extend(more)
    await follower.close()
    return found


async def test_what_was_appended_is_loaded(world: World) -> None:
    seq = await world.log.append([write(A, b"1")], {A: Seq(0)})
    found = await world.log.load(A)
    assert found is not None
    assert (found.seq, found.subject, found.body) == (seq, A, b"1")
    assert await world.log.load(B) is None


async def test_a_guard_that_does_not_hold_stores_nothing(world: World) -> None:
    first = await world.log.append([write(A)], {A: Seq(0)})
    with pytest.raises(Conflict):
        await world.log.append([write(A), write(B)], {A: Seq(0), B: Seq(0)})
    assert await world.log.load(B) is None
    assert await world.log.last_seq() == first


async def test_a_batch_is_stored_in_one_piece(world: World) -> None:
    seq = await world.log.append([write(A), write(B), write(A)], {A: Seq(0), B: Seq(0)})
    found = await drain(world.log, Seq(0), ["evt.>"], 3)
    assert [one.subject for one in found] == [A, B, A]
    assert [one.seq for one in found] == [seq - 2, seq - 1, seq]


async def test_a_guard_may_be_on_a_subject_that_is_only_read(world: World) -> None:
    await world.log.append([write(A)], {A: Seq(0)})
    with pytest.raises(Conflict):
        await world.log.append([write(B), write(C)], {A: Seq(0), C: Seq(0)})
    assert await world.log.load(C) is None
    await world.log.append([write(B), write(C)], {A: Seq(1), C: Seq(0)})


async def test_a_guard_that_nothing_can_carry_is_a_defect(world: World) -> None:
    with pytest.raises(ValueError, match="carry"):
        await world.log.append([write(A)], {A: Seq(0), B: Seq(0)})


@pytest.mark.parametrize("guards", [{}, {C: Seq(0)}])
async def test_a_batch_whose_outcome_could_not_be_resolved_is_a_defect(
    world: World, guards: dict[str, Seq]
) -> None:
    with pytest.raises(ValueError, match="resolved"):
        await world.log.append([write(A), write(B)], guards)


async def test_the_same_write_again_is_the_same_write(world: World) -> None:
    one = write(A)
    first = await world.log.append([one], {A: Seq(0)})
    assert await world.log.append([one], {A: Seq(0)}) == first
    batch = [write(A), write(B)]
    second = await world.log.append(batch, {A: first, B: Seq(0)})
    assert await world.log.append(batch, {A: first, B: Seq(0)}) == second
    assert await world.log.last_seq() == second


async def test_an_id_that_someone_else_used_is_no_success(world: World) -> None:
    shared = random_id()
    await world.log.append([write(A, event_id=shared)], {})
    with pytest.raises(Conflict):
        await world.log.append([write(B, event_id=shared)], {})


async def test_of_two_writers_with_the_same_guard_one_wins(world: World) -> None:
    results = await asyncio.gather(
        *(world.log.append([write(A), write(B)], {A: Seq(0)}) for _ in range(8)), return_exceptions=True
    )
    assert sum(isinstance(one, int) for one in results) == 1
    assert sum(isinstance(one, Conflict) for one in results) == 7


async def test_the_last_of_each_subject_is_read(world: World) -> None:
    for body in (b"1", b"2"):
        await world.log.append([write(A, body)], {})
    await world.log.append([write(B, b"3")], {})
    await world.log.append([write(C, b"4")], {})
    found = await world.log.last_per_subject("evt.vm.*.ctl")
    assert [(one.subject, one.body) for one in found] == [(A, b"2"), (B, b"3")]
    assert list(await world.log.last_per_subject("evt.claim.*.ctl")) == []


async def test_a_follower_reads_on_from_its_position_and_sees_what_comes(world: World) -> None:
    await world.log.append([write(A, b"1")], {})
    middle = await world.log.append([write(B, b"2")], {})
    follower = world.log.follow(Seq(middle - 1), ["evt.vm.>"])
    assert [one.body for one in await follower.next(10, WAIT_S)] == [b"2"]
    assert follower.position == middle
    await world.log.append([write(C, b"other kind")], {})
    await world.log.append([write(A, b"3")], {})
    assert [one.body for one in await follower.next(10, WAIT_S)] == [b"3"]
    assert list(await follower.next(10, 0.05)) == []
    await follower.close()


async def test_a_log_that_ends_before_its_reader_is_corrupt(world: World) -> None:
    await world.log.append([write(A)], {})
    with pytest.raises(Corrupt):
        await world.log.follow(Seq(7), ["evt.>"]).next(1, WAIT_S)


async def test_a_delivery_comes_again_until_it_is_acknowledged(world: World) -> None:
    await world.commands.append([write("cmd.vm.a.1", b"x")], {"cmd.vm.a.1": Seq(0)})
    (first,) = await world.consumer.fetch(5, WAIT_S)
    assert first.recorded.body == b"x"
    await first.retry(0.0)
    (again,) = await world.consumer.fetch(5, WAIT_S)
    assert again.recorded.seq == first.recorded.seq
    await again.ack()
    assert list(await world.consumer.fetch(5, 0.05)) == []


async def test_a_command_is_stored_once(world: World) -> None:
    subject = "cmd.vm.a.1"
    await world.commands.append([write(subject)], {subject: Seq(0)})
    with pytest.raises(Conflict):
        await world.commands.append([write(subject)], {subject: Seq(0)})


async def test_signals_reach_who_listens(world: World) -> None:
    heard: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
    end = await world.signals.listen("hb.*", lambda subject, body: heard.put_nowait((subject, body)))
    await world.signals.send("hb.one", b"x")
    assert await asyncio.wait_for(heard.get(), WAIT_S) == ("hb.one", b"x")
    await end()


async def test_a_full_twin_says_so_and_stores_nothing() -> None:
    stream = MemoryStream(faults=deque([Fault.FULL]))
    with pytest.raises(LogFull):
        await MemoryLog(stream).append([write(A)], {A: Seq(0)})
    assert stream.messages == []


async def test_a_full_stream_says_so_stores_nothing_and_goes_on_when_widened(
    nats_server: NatsServer,
) -> None:
    seed = seed_file(nats_server.keys, "bootstrap")
    client = await connect(nats_server.url, seed, "bootstrap", lambda _: None)
    await ensure_streams(client, streams(SMALL, GIB, 1))
    log = JetStreamLog(client, "EVT", random_id)
    large = b"x" * (SMALL // 4)
    await log.append([write(A, large)], {})
    await log.append([write(A, large)], {})
    await log.append([write(A, large)], {})
    with pytest.raises(LogFull):
        await log.append([write(A, large)], {})
    last = await log.last_seq()
    with pytest.raises(LogFull):
        await log.append([write(A, large), write(B, large)], {B: Seq(0)})
    assert await log.last_seq() == last
    await ensure_streams(client, streams(GIB, GIB, 1))
    assert await log.append([write(A, large)], {}) == last + 1
    with pytest.raises(Narrowing):
        await ensure_streams(client, streams(SMALL, GIB, 1))
    await closer(client)()


@pytest.mark.parametrize("status", ["100", "404", "408", "409", "503"])
async def test_a_header_of_a_writer_is_not_taken_for_the_servers_word(
    nats_server: NatsServer, status: str
) -> None:
    client = await connect(
        nats_server.url, seed_file(nats_server.keys, "bootstrap"), "bootstrap", lambda _: None
    )
    await ensure_streams(client, streams(GIB, GIB, 1))
    await request(client, A, b"forged", {"Status": status, "Description": "Consumer Deleted"})
    log = JetStreamLog(client, "EVT", random_id)
    await log.append([write(B, b"next")], {})
    assert [one.body for one in await drain(log, Seq(0), ["evt.>"], 2)] == [b"forged", b"next"]
    assert [one.body for one in await log.last_per_subject("evt.vm.*.*")] == [b"forged", b"next"]
    await closer(client)()


async def test_a_follower_that_is_closed_leaves_no_consumer_behind(nats_server: NatsServer) -> None:
    client = await connect(
        nats_server.url, seed_file(nats_server.keys, "bootstrap"), "bootstrap", lambda _: None
    )
    await ensure_streams(client, streams(GIB, GIB, 1))
    log = JetStreamLog(client, "EVT", random_id)
    await log.append([write(A)], {})
    for _ in range(20):
        await drain(log, Seq(0), ["evt.>"], 1)

    async def none_left() -> bool:
        info = await ask(client, "$JS.API.STREAM.INFO.EVT", {})
        return bool(info["state"]["consumer_count"] == 0)

    await eventually(none_left, "no consumer on the stream")
    await closer(client)()


async def asked_and_taken(world: World, count: int) -> list[Delivery]:
    """Have *count* commands in the hands of a reader."""
    for number in range(count):
        await world.commands.append([write(f"cmd.vm.a.{number}")], {f"cmd.vm.a.{number}": Seq(0)})
    taken: list[Delivery] = []
    while len(taken) < count:
        taken += await world.consumer.fetch(count, WAIT_S)
    return taken


async def test_what_a_dead_reader_had_in_hand_can_be_had_at_once(world: World) -> None:
    taken = await asked_and_taken(world, 4)
    await taken[1].ack()
    await world.consumer.reclaim()
    again: set[Seq] = set()
    while len(again) < 3:
        more = await world.consumer.fetch(4, WAIT_S)
        assert more, f"only {again} came again"
        again |= {one.recorded.seq for one in more}
    assert again == {taken[0].recorded.seq, taken[2].recorded.seq, taken[3].recorded.seq}


async def test_what_was_acknowledged_before_one_that_is_known_to_be_does_not_come_again(world: World) -> None:
    taken = await asked_and_taken(world, 40)
    for delivery in taken[1:]:
        await delivery.ack(wait=delivery is taken[-1])
    await world.consumer.reclaim()
    (again,) = await world.consumer.fetch(40, WAIT_S)
    assert again.recorded.seq == taken[0].recorded.seq
    await again.ack()
    assert list(await world.consumer.fetch(40, 0.05)) == []


async def test_what_was_fetched_ahead_goes_to_the_next_reader_at_once(nats_server: NatsServer) -> None:
    client = await connect(
        nats_server.url, seed_file(nats_server.keys, "bootstrap"), "bootstrap", lambda _: None
    )
    await ensure_streams(client, streams(GIB, GIB, 1))
    await ensure_command_consumer(client)
    log = JetStreamLog(client, "CMD", random_id)
    for number in range(5):
        await log.append([write(f"cmd.vm.a.{number}")], {f"cmd.vm.a.{number}": Seq(0)})
    first = JetStreamConsumer(client, "CMD", "scheduler")
    (taken,) = await first.fetch(1, WAIT_S)
    await taken.ack()
    await first.close()
    second = JetStreamConsumer(client, "CMD", "scheduler")
    found: set[int] = set()
    while len(found) < 4:
        more = await second.fetch(10, WAIT_S)
        assert more, f"only {sorted(found)} came again"
        found |= {one.recorded.seq for one in more}
    assert found == {2, 3, 4, 5}
    await second.close()
    await closer(client)()


async def test_a_server_that_is_killed_and_started_again_costs_no_message(nats_server: NatsServer) -> None:
    seed = seed_file(nats_server.keys, "bootstrap")
    client = await connect(nats_server.url, seed, "bootstrap", lambda _: None)
    await ensure_streams(client, streams(GIB, GIB, 1))
    log = JetStreamLog(client, "EVT", random_id)
    follower = log.follow(Seq(0), ["evt.>"])
    first = await log.append([write(A, b"before")], {A: Seq(0)})
    assert [one.body for one in await follower.next(1, WAIT_S)] == [b"before"]
    await asyncio.to_thread(nats_server.server.process.kill)  # type: ignore[union-attr]
    one = write(A, b"while it is away")
    appending = asyncio.gather(log.append([one], {A: first}))
    nats_server.server.start(nats_server.hosts)
    (second,) = await appending
    assert await log.append([one], {A: first}) == second
    found: list[Recorded] = []

    async def came() -> bool:
        try:
            found.extend(await follower.next(10, 0.5))
        except Unavailable:
            return False  # It says so, and goes on where it was.
        return bool(found)

    await eventually(came, "the follower reads on")
    assert [(one.seq, one.body) for one in found] == [(second, b"while it is away")]
    await follower.close()
    await closer(client)()
