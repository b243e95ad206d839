"""Leases in memory and on a real server behave alike; time is the test's, and each clock begins elsewhere."""

import asyncio
from abc import abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest

from events import subjects
from events.ids import Seq
from infra.deploy.identities import seed_file
from infra.deploy.streams import ensure_streams, streams
from infra.eventlog.connection import closer, connect
from infra.eventlog.jetstream import ask
from infra.eventlog.port import Conflict, Recorded, Write
from infra.leases.jetstream import PING_INTERVAL_S, JetStreamLeases
from infra.leases.memory import Fault, MemoryLeases
from infra.leases.port import Leases
from infra.leases.service import RELEASE_TRIES_MAX, ServiceLease
from infra.leases.term import DRIFT, Timing
from infra.runtime.errors import Unavailable
from infra.runtime.ids import random_id
from tests.support.eventually import eventually
from tests.support.proxy import Line, line
from tests.support.stack import NatsServer
from tests.support.still_clock import StillClock

GIB = 1024**3
TIMING = Timing()
TERM_S = TIMING.term_s
ANSWER_S = 2.0
"""A service asks again after less; here, where nobody does, a busy disk may take that long."""
LEASE, OTHER = subjects.service_lease("scheduler"), subjects.service_lease("other")


class Fails(Leases):
    """Leases whose next word meets what a test wants; a look always comes through."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases
        self.faults: deque[Fault] = deque()

    async def look(self, subject: str) -> Recorded | None:
        return await self._leases.look(subject)

    async def say(self, write: Write, guard: Seq) -> Seq:
        if not self.faults:
            return await self._leases.say(write, guard)
        return await self.fail(self.faults.popleft(), lambda: self._leases.say(write, guard))

    @abstractmethod
    async def fail(self, fault: Fault, said: Callable[[], Awaitable[Seq]]) -> Seq:
        """Let it go wrong, and mend it."""


class TwinFails(Fails):
    """Faults of the twin."""

    def __init__(self, leases: MemoryLeases) -> None:
        super().__init__(leases)
        self._twin = leases

    async def fail(self, fault: Fault, said: Callable[[], Awaitable[Seq]]) -> Seq:
        self._twin.faults.append(fault)
        return await said()


class LineFails(Fails):
    """A real server at the far end of a line."""

    def __init__(self, leases: Leases, direct: Leases, over: Line) -> None:
        super().__init__(leases)
        self._direct, self._over = direct, over

    async def fail(self, fault: Fault, said: Callable[[], Awaitable[Seq]]) -> Seq:
        before = await self._direct.look(LEASE)
        stopped = self._over.answers if fault is Fault.ANSWER_LOST else self._over.requests
        stopped.close()
        try:
            return await said()
        finally:
            if fault is Fault.ANSWER_LOST:
                await eventually(lambda: self._changed(before), "it is stored")
            else:
                assert not await self._changed(before)
            if fault is Fault.LATE:
                self._over.requests.release()
                await eventually(lambda: self._changed(before), "it is stored after all")
            else:
                self._over.cut()
                await eventually(self._reached, "the line is mended")

    async def _changed(self, before: Recorded | None) -> bool:
        return await self._direct.look(LEASE) != before

    async def _reached(self) -> bool:
        try:
            await self.look(LEASE)
        except Unavailable:
            return False
        return True


@dataclass
class World:
    """The leases as they are, and as reached over something that can fail."""

    leases: Fails
    direct: Leases
    clocks: list[StillClock] = field(default_factory=list)

    def lease(self, place: str, *, leases: Leases | None = None) -> ServiceLease:
        """Give the lease as a process at *place* sees it, which starts now."""
        clock = StillClock(1000.0 * len(self.clocks))
        self.clocks.append(clock)
        return ServiceLease(
            leases or self.leases, LEASE, holder=place, new_id=random_id, clock=clock, timing=TIMING
        )

    def passes(self, seconds: float) -> None:
        """Let so much time pass for everybody."""
        for clock in self.clocks:
            clock.passed_s += seconds

    async def watched(self, lease: ServiceLease, seconds: float) -> bool:
        """Have *lease* look every now and then for so long; tell whether it has it at the end."""
        steps = int(seconds / TIMING.look_s)
        for _ in range(steps):
            assert not await lease.take()
            self.passes(seconds / steps)
        return await lease.take()

    async def fails(self, fault: Fault, call: Callable[[], Awaitable[object]]) -> None:
        """Make *call*, whose word meets *fault*."""
        self.leases.faults.append(fault)
        with pytest.raises(Unavailable):
            await call()
        assert not self.leases.faults


@asynccontextmanager
async def real(server: NatsServer) -> AsyncIterator[World]:
    seed = seed_file(server.keys, "bootstrap")
    near = await connect(server.url, seed, "bootstrap", lambda _: None)
    await ensure_streams(near, streams(GIB, GIB, 1))
    async with line(urlsplit(server.url).port or 0) as disturbed:
        scheduler = seed_file(server.keys, "scheduler")
        far = await connect(
            disturbed.url, scheduler, "scheduler", lambda _: None, ping_interval_s=PING_INTERVAL_S
        )
        try:
            direct = JetStreamLeases(near, random_id, ANSWER_S)
            leases = LineFails(JetStreamLeases(far, random_id, ANSWER_S), direct, disturbed)
            yield World(leases, direct)
            found = await ask(near, "$JS.API.STREAM.INFO.LEASE", {"subjects_filter": ">"})
            assert set(found["state"].get("subjects", {}).values()) <= {1}
        finally:
            for client in (far, near):
                await closer(client)()


@pytest.fixture(params=["memory", "jetstream"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "memory":
        leases = MemoryLeases()
        yield World(TwinFails(leases), leases)
        return
    async with real(request.getfixturevalue("nats_server")) as found:
        yield found


def word(subject: str = LEASE, body: bytes = b"word") -> Write:
    return Write(subject, random_id(), body)


def holds(lease: ServiceLease) -> bool:
    return lease.held


async def test_the_last_word_is_what_is_there(world: World) -> None:
    assert await world.direct.look(LEASE) is None
    first, second = word(), word(body=b"again")
    seq = await world.direct.say(first, Seq(0))
    last = await world.direct.say(second, seq)
    found = await world.direct.look(LEASE)
    assert found is not None
    assert (found.seq, found.event_id, found.body) == (last, second.event_id, b"again")
    assert await world.direct.look(OTHER) is None
    assert await world.direct.say(word(OTHER), Seq(0)) > last


async def test_a_guard_that_does_not_hold_stores_nothing(world: World) -> None:
    seq = await world.direct.say(word(), Seq(0))
    for guard in (0, seq + 1):
        with pytest.raises(Conflict):
            await world.direct.say(word(body=b"late"), Seq(guard))
    found = await world.direct.look(LEASE)
    assert found is not None
    assert (found.seq, found.body) == (seq, b"word")


async def test_of_many_with_the_same_guard_one_wins(world: World) -> None:
    said = await asyncio.gather(*(world.direct.say(word(), Seq(0)) for _ in range(8)), return_exceptions=True)
    assert sorted(type(one).__name__ for one in said) == ["Conflict"] * 7 + ["int"]


async def test_what_nobody_holds_is_taken_at_once_and_by_one(world: World) -> None:
    first, second = world.lease("one"), world.lease("two")
    assert await first.take()
    assert not await second.take()
    assert (first.held, second.held) == (True, False)
    assert second.holder == "one"


async def test_of_many_that_want_it_one_has_it(world: World) -> None:
    many = [world.lease(f"place-{number}") for number in range(8)]
    assert sum(await asyncio.gather(*(one.take() for one in many))) == 1
    assert sum(one.held for one in many) == 1


async def test_it_is_held_for_a_term_and_renewed_for_another(world: World) -> None:
    first = world.lease("one")
    assert await first.take()
    world.passes(TERM_S - 0.1)
    assert await first.renew()
    world.passes(TERM_S - 0.1)
    assert holds(first)
    world.passes(0.2)
    assert not holds(first)
    assert not await first.renew()
    assert await first.take(), "nobody else has it: it is taken again at once"


async def test_a_watcher_counts_from_its_own_first_sight(world: World) -> None:
    first, second = world.lease("one"), world.lease("two")
    assert await first.take()
    assert await world.watched(second, TERM_S * DRIFT + 0.01)
    assert (first.held, second.held) == (False, True)
    assert not await first.take()


async def test_it_is_not_taken_from_one_that_renews(world: World) -> None:
    first, second = world.lease("one"), world.lease("two")
    assert await first.take()
    for _ in range(10):
        assert not await second.take()
        world.passes(TERM_S / 2)
        assert await first.renew()
    assert not await second.take()


async def test_one_that_has_just_started_counts_from_its_start(world: World) -> None:
    first = world.lease("one")
    assert await first.take()
    world.passes(10 * TERM_S)
    second = world.lease("two")
    assert not await second.take()
    assert await first.take()
    assert not await world.watched(second, TERM_S / 2)
    assert await world.watched(second, TERM_S / 2 + 0.01)


async def test_a_watcher_that_slept_begins_anew(world: World) -> None:
    first, second = world.lease("one"), world.lease("two")
    assert await first.take()
    assert not await world.watched(second, TERM_S / 2)
    world.passes(10 * TERM_S)
    assert not await second.take()
    assert not await world.watched(second, TERM_S / 2)
    assert await world.watched(second, TERM_S / 2 + 0.01)


async def test_what_is_released_is_free_at_once(world: World) -> None:
    first, second = world.lease("one"), world.lease("two")
    assert await first.take()
    await first.release()
    assert not first.held
    assert await second.take()
    await first.release()
    assert second.held
    assert await second.renew()


async def test_a_new_process_at_the_same_place_takes_it_over_at_once_and_once(world: World) -> None:
    first = world.lease("one")
    assert await first.take()
    again, other = world.lease("one"), world.lease("two")
    assert not await other.take()
    assert await again.take()
    assert not await first.renew(), "it has a successor"
    for _ in range(5):
        assert not await first.take(), "only who has just started may take what its place holds"
        world.passes(TIMING.look_s)
    assert await again.renew()


async def test_one_that_found_another_at_work_is_no_newborn_any_more(world: World) -> None:
    first, again = world.lease("two"), world.lease("one")
    assert await first.take()
    assert not await again.take()
    await first.release()
    third = world.lease("one")
    assert await third.take()
    assert not await again.take()


async def test_a_word_that_nobody_can_read_is_held_for_the_usual_term(world: World) -> None:
    await world.direct.say(word(body=b"\xff from the future"), Seq(0))
    first = world.lease("one")
    assert not await first.take()
    assert first.holder == "unknown"
    assert await world.watched(first, TERM_S * DRIFT + 0.01)


async def test_a_take_whose_answer_is_lost_is_found_by_its_id(world: World) -> None:
    first, second = world.lease("one"), world.lease("two", leases=world.direct)
    await world.fails(Fault.ANSWER_LOST, first.take)
    assert not first.held
    assert not await second.take()
    world.passes(TERM_S / 2)
    assert await first.take()
    world.passes(TERM_S / 2)
    assert not first.held, "the term counts from before it was sent, not from when it was found"


async def test_a_renewal_whose_answer_is_lost_is_found_by_the_next(world: World) -> None:
    first, second = world.lease("one"), world.lease("two", leases=world.direct)
    assert await first.take()
    world.passes(TERM_S / 2)
    await world.fails(Fault.ANSWER_LOST, first.renew)
    assert first.held
    world.passes(TERM_S / 4)
    assert await first.renew(), "the guard had moved, by ourselves"
    assert await first.renew()
    assert not await second.take()


@pytest.mark.parametrize("fault", [Fault.ANSWER_LOST, Fault.NOT_STORED])
async def test_a_release_that_meets_a_fault_is_said_again_at_once(world: World, fault: Fault) -> None:
    first, second = world.lease("one"), world.lease("two", leases=world.direct)
    assert await first.take()
    world.leases.faults.append(fault)
    await first.release()
    assert not world.leases.faults
    assert await second.take()
    await first.release()
    assert await second.renew()


@pytest.mark.parametrize("verb", ["take", "renew"])
async def test_what_was_lost_on_its_way_is_said_again(world: World, verb: str) -> None:
    first, second = world.lease("one"), world.lease("two", leases=world.direct)
    if verb != "take":
        assert await first.take()
    await world.fails(Fault.NOT_STORED, getattr(first, verb))
    await getattr(first, verb)()
    assert first.held
    assert not await second.take()


async def test_a_release_that_nobody_hears_ends_and_says_so(world: World) -> None:
    first = world.lease("one")
    assert await first.take()
    world.leases.faults.extend([Fault.NOT_STORED] * RELEASE_TRIES_MAX)
    with pytest.raises(Unavailable):
        await first.release()
    assert first.held, "until its term is over"


async def test_a_renewal_that_lands_late_holds_off_the_watcher_and_gives_no_new_term(world: World) -> None:
    first, second = world.lease("one"), world.lease("two", leases=world.direct)
    assert await first.take()
    assert not await second.take()
    await world.fails(Fault.LATE, first.renew)
    world.passes(TERM_S)
    assert not first.held
    await world.leases.look(LEASE)
    assert not await second.take(), "its first sight of that renewal is now"
    assert await first.take()


async def test_one_that_could_not_renew_finds_that_another_has_begun(world: World) -> None:
    first, second = world.lease("one"), world.lease("two", leases=world.direct)
    assert await first.take()
    assert not await second.take()

    await world.fails(Fault.NOT_STORED, first.renew)
    assert await world.watched(second, TERM_S * DRIFT + 0.01)
    assert not await first.take()
    assert not first.held
    assert await second.renew()
