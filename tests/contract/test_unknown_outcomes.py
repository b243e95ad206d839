"""What a writer does not know: each way to lose an answer, on the twin and on a real server.

A try on its own subjects is a `Try`; all of a test's tries meet the same trouble at once. Whatever a first
call said, the next with the same writes gives the sequence at which they are stored exactly once.
"""

import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from events.ids import Seq
from infra.deploy.identities import seed_file
from infra.deploy.streams import ensure_streams, streams
from infra.embedded.nats import EmbeddedNats
from infra.eventlog.connection import closer, connect
from infra.eventlog.facts import JetStreamFactLog
from infra.eventlog.jetstream import JetStreamLog
from infra.eventlog.memory import MemoryLog, MemoryStream
from infra.eventlog.port import Conflict, EventLog, FactLog, LogFull, Recorded, Write
from infra.runtime.errors import Unavailable
from infra.runtime.ids import random_id
from tests.support.eventually import eventually
from tests.support.proxy import line
from tests.support.stack import HOSTS, NatsServer
from tests.support.trouble import LineTrouble, Making, MemoryTrouble, Outcome, Trouble, Try

GIB = 1024**3
SMALL = 64 * 1024
HOST = HOSTS[0]
BODY = b"x" * 1024
FOUND_WITHIN_S = 5.0
ROOMY = streams(GIB, GIB, 1)


@dataclass
class World:
    log: EventLog
    facts: FactLog
    direct: EventLog
    """The same log, which no trouble comes between."""
    trouble: Trouble

    def __post_init__(self) -> None:
        self._names = (f"s{number}" for number in count())

    def one(self) -> Try:
        return self.append([f"evt.vm.{next(self._names)}.ctl"])

    def batch(self) -> Try:
        first, second = (f"evt.vm.{next(self._names)}.ctl" for _ in range(2))
        return self.append([first, second, first])

    def fact(self) -> Try:
        sent = write(f"evt.vm.{next(self._names)}.{HOST}")
        return Try(lambda: self.facts.publish(sent, None), [sent])

    def append(self, on: Sequence[str]) -> Try:
        writes = [write(subject) for subject in on]
        guards = dict.fromkeys(on, Seq(0))
        return Try(lambda: self.log.append(writes, guards), writes)

    def each(self) -> list[Try]:
        return [self.one(), self.batch(), self.fact()]

    async def all(self) -> list[Recorded]:
        follower = self.direct.follow(Seq(0), ["evt.>"])
        last, found = await self.direct.last_seq(), list[Recorded]()
        while follower.position < last:
            found.extend(await follower.next(1000, FOUND_WITHIN_S))
        await follower.close()
        return found

    async def holds_once(self, tries: Sequence[Try]) -> None:
        """Make each try again; see that each is in the log once, in one piece, where it says, and no more."""
        at: Mapping[Seq, Write] = {
            Seq(await one.call() - len(one.writes) + 1 + index): written
            for one in tries
            for index, written in enumerate(one.writes)
        }
        found = await self.all()
        assert {one.seq: (one.subject, one.event_id) for one in found} == {
            seq: (written.subject, written.event_id) for seq, written in at.items()
        }


def write(subject: str, body: bytes = BODY) -> Write:
    return Write(subject, random_id(), body)


@pytest.fixture(params=["memory", "jetstream"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "memory":
        stream = MemoryStream()
        yield World(MemoryLog(stream), MemoryLog(stream), MemoryLog(stream), MemoryTrouble(stream))
        return
    server: NatsServer = request.getfixturevalue("nats_server")
    async with real(server) as found:
        yield found


@asynccontextmanager
async def real(server: NatsServer, described: Mapping[str, dict[str, Any]] = ROOMY) -> AsyncIterator[World]:
    """Give the log of *server* with a line before it that trouble can come between."""
    seed = seed_file(server.keys, "bootstrap")
    near = await connect(server.url, seed, "bootstrap", lambda _: None)
    await ensure_streams(near, described)
    async with line(urlsplit(server.url).port or 0) as over:
        far = await connect(over.url, seed, "bootstrap", lambda _: None)
        host = f"host-{HOST}"
        hosts_own = await connect(over.url, seed_file(server.keys, host), host, lambda _: None)
        direct = JetStreamLog(near, "EVT", random_id)
        log = JetStreamLog(far, "EVT", random_id)
        try:
            yield World(log, JetStreamFactLog(hosts_own), direct, LineTrouble(over, direct))
        finally:
            for client in (far, hosts_own, near):
                await closer(client)()


async def test_an_answer_that_is_lost_costs_nothing(world: World) -> None:
    tries = world.each()
    await world.trouble.answers_lost(tries)
    await world.holds_once(tries)


async def test_an_answer_that_comes_too_late_costs_nothing(world: World) -> None:
    tries = world.each()
    await world.trouble.answers_late(tries)
    await world.holds_once(tries)


async def test_a_request_that_is_lost_is_made_good(world: World) -> None:
    tries = world.each()
    await world.trouble.requests_lost(tries)
    await world.holds_once(tries)


async def test_what_lands_after_its_writer_gave_up_is_known_again(world: World) -> None:
    tries = world.each()

    async def nothing() -> None: ...

    await world.trouble.requests_late(tries, nothing)
    await world.holds_once(tries)


async def test_what_was_given_up_and_what_a_rival_wrote_instead_are_not_both_there(world: World) -> None:
    tries = [world.one(), world.batch()]
    rivals = [[write(written.subject) for written in one.writes] for one in tries]
    rivals_heard: list[Outcome] = []

    async def meanwhile() -> None:
        for rival in rivals:
            call = world.direct.append(rival, {written.subject: Seq(0) for written in rival})
            rivals_heard.append(await Try(lambda call=call: call, rival).made())  # type: ignore[misc]

    await world.trouble.requests_late(tries, meanwhile)
    heard = [await one.made() for one in tries]
    assert all(
        isinstance(ours, Conflict) != isinstance(theirs, Conflict)
        for ours, theirs in zip(heard, rivals_heard, strict=True)
    )
    won = [
        written.event_id
        for ours, one, theirs, rival in zip(heard, tries, rivals_heard, rivals, strict=True)
        for written in (one.writes if isinstance(theirs, Conflict) else rival)
        if not isinstance(ours, Unavailable)
    ]
    assert sorted(map(str, won)) == sorted(str(one.event_id) for one in await world.all())


async def test_of_a_batch_with_an_id_that_someone_else_used_nothing_is_stored(world: World) -> None:
    (first,) = (taken := world.one()).writes
    await taken.call()
    stolen = Write("evt.vm.a.ctl", first.event_id, BODY)
    with pytest.raises(Conflict):
        await world.log.append([stolen, write("evt.vm.b.ctl")], {"evt.vm.a.ctl": Seq(0)})
    await world.holds_once([taken])


async def test_a_fact_is_stored_whatever_its_host_remembers_of_the_log(world: World) -> None:
    subject = f"evt.vm.a.{HOST}"
    first, second = write(subject), write(subject)
    at = await world.facts.publish(first, None)
    assert await world.facts.publish(second, at) == at + 1
    new = [write(subject) for _ in range(3)]
    # A journal of long ago, none at all, and one that knows more than a log that was restored.
    stored = [
        await world.facts.publish(one, known) for one, known in zip(new, (at, None, Seq(99)), strict=True)
    ]
    assert stored == [at + 2, at + 3, at + 4]
    assert await world.facts.publish(first, at) == at
    assert await world.facts.publish(new[1], None) == stored[1]
    assert await world.facts.publish(new[2], stored[2]) == stored[2]
    assert [one.event_id for one in await world.all()] == [one.event_id for one in (first, second, *new)]


async def test_a_server_that_was_frozen_may_have_taken_it(tmp_path: Path) -> None:
    own = EmbeddedNats(tmp_path / "nats", tmp_path / "keys")  # a container's process is not ours to stop
    server = NatsServer(own, tmp_path / "keys")
    try:
        await _frozen(server, own)
    finally:
        own.stop()


async def _frozen(server: NatsServer, own: EmbeddedNats) -> None:
    async with real(server) as world:
        tries = world.each()
        process = own.process
        assert process is not None
        process.popen.send_signal(signal.SIGSTOP)
        making = Making(tries)
        await making.first()
        process.popen.send_signal(signal.SIGCONT)
        *appended, published = await making.all
        assert all(isinstance(one, int) for one in appended)
        assert isinstance(published, Unavailable)
        await world.holds_once(tries)


async def test_a_server_that_is_killed_may_have_stored_it(nats_server: NatsServer) -> None:
    async with real(nats_server) as world:
        tries = [one for _ in range(20) for one in world.each()]
        making = Making(tries)
        await making.first()
        nats_server.restart()
        await making.all
        await world.holds_once(tries)


async def test_what_filled_the_stream_is_found_there_and_not_refused(nats_server: NatsServer) -> None:
    async with real(nats_server, streams(SMALL, GIB, 1)) as world:
        filling = [write("evt.vm.a.ctl", b"x" * (SMALL // 3)) for _ in range(2)]
        fact = write(f"evt.vm.a.{HOST}", b"x" * (SMALL // 4))
        guards = {"evt.vm.a.ctl": Seq(0)}
        at = await world.log.append(filling, guards), await world.facts.publish(fact, None)
        with pytest.raises(LogFull):
            await world.log.append([write("evt.vm.b.ctl", b"x" * (SMALL // 3))], {"evt.vm.b.ctl": Seq(0)})
        with pytest.raises(LogFull):
            await world.facts.publish(write(f"evt.vm.a.{HOST}", b"x" * (SMALL // 3)), at[1])
        assert (await world.log.append(filling, guards), await world.facts.publish(fact, None)) == at


async def test_after_a_try_without_an_answer_a_full_stream_does_not_mean_that_nothing_is_stored(
    nats_server: NatsServer,
) -> None:
    async with real(nats_server, streams(SMALL, GIB, 1)) as world:
        large = [write("evt.vm.a.ctl", b"x" * (SMALL // 3)) for _ in range(2)]
        tried = Try(lambda: world.log.append(large, {"evt.vm.a.ctl": Seq(0)}), large)
        assert isinstance(world.trouble, LineTrouble)
        requests = world.trouble.line.requests
        requests.close()
        making = Making([tried])
        await eventually(lambda: requests.stopped > 2 * sum(len(one.body) for one in large), "a second try")
        await world.direct.append([write("evt.vm.b.ctl", b"x" * (SMALL // 2))], {})
        requests.release()
        (heard,) = await making.all
        assert isinstance(heard, Unavailable)
        assert not isinstance(heard, LogFull)
        assert "10077" in heard.why


async def test_beyond_the_window_an_append_is_known_and_a_fact_is_stored_again(
    nats_server: NatsServer,
) -> None:
    short = {"EVT": ROOMY["EVT"] | {"duplicate_window": 100 * 10**6}}
    async with real(nats_server, short) as world:
        tries = [world.one(), world.batch()]
        await world.holds_once(tries)
        fact = world.fact()
        first = await fact.call()

        async def forgotten() -> bool:
            return await fact.call() != first

        await eventually(forgotten, "the server has forgotten the id")
        for one in tries:
            assert (await world.all())[await one.call() - 1].event_id == one.writes[-1].event_id
        assert [one.event_id for one in (await world.all())[first - 1 :]] == [fact.writes[0].event_id] * 2
