"""Two schedulers as processes: one is active; if it goes the other goes on, and all is done once."""

import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from nats.aio.msg import Msg

from events import subjects
from infra.eventlog.jetstream import JetStreamLog
from infra.leases.term import Claim, read
from infra.runtime.ids import random_id
from sim.checkers.ledger import Ledger
from tests.integration.scheduler.asking import a_fleet_with_images, all_ended, ask_lives
from tests.support.eventually import eventually
from tests.support.fleet import Fleet
from tests.support.stack import NatsServer

LEASE = subjects.service_lease("scheduler")
VMS, KILLS = 6, 3


@dataclass
class Pair:
    """Hosts, and two schedulers by the names of their places."""

    fleet: Fleet
    running: dict[str, Process]
    said: list[Claim] = field(default_factory=list)
    """All that anybody tried to say on the lease."""

    async def active(self) -> str:
        """Wait until somebody holds the lease; give its name."""
        claims = JetStreamLog(self.fleet.client, "LEASE", random_id)
        found: list[str] = []

        async def held() -> bool:
            last = await claims.load(LEASE)
            claim = read(last.body) if last is not None else None
            if claim is not None and not claim.released:
                found.append(claim.holder)
            return bool(found)

        await eventually(held, "an active scheduler")
        return found[-1]

    async def becomes_active(self, name: str) -> None:
        """Wait until *name* holds the lease."""

        async def held() -> bool:
            return await self.active() == name

        await eventually(held, f"{name} is active")

    async def goes_passive(self, name: str) -> None:
        """Wait until *name* says that it is active no more."""
        log = self.fleet.state / f"scheduler-{name}.log"
        await eventually(lambda: "scheduler_passive" in log.read_text(), f"{name} is passive")

    def excuse(self, name: str) -> None:
        """Forget what held up the event loop of *name*: this test did."""
        (self.fleet.state / f"scheduler-{name}.slow").unlink(missing_ok=True)

    async def decided(self, count: int) -> None:
        """Wait until *count* more events are in the log."""
        follower = self.fleet.events.follow(await self.fleet.events.last_seq(), [subjects.EVT_ALL])
        while count > 0 and (found := await follower.next(count, 4.0)):
            count -= len(found)
        await follower.close()

    def other(self, name: str) -> str:
        (other,) = self.running.keys() - {name}
        return other


@pytest.fixture
async def pair(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        fleet = await stack.enter_async_context(a_fleet_with_images(nats_server, tmp_path))
        await stack.enter_async_context(fleet.hostd())
        pair = Pair(fleet, {})

        async def hear(message: Msg) -> None:
            claim = read(message.data)
            assert claim is not None
            pair.said.append(claim)

        await fleet.client.subscribe(LEASE, cb=hear)
        for name in ("one", "two"):
            pair.running[name] = await stack.enter_async_context(fleet.scheduler(name))
        await pair.active()
        yield pair


@asynccontextmanager
async def all_once(pair: Pair) -> AsyncIterator[None]:
    """Ask for whole lives of VMs; at the end each command has ended once and the books are right."""
    asked = await ask_lives(pair.fleet, range(VMS))
    yield
    asked |= await ask_lives(pair.fleet, range(VMS, 2 * VMS))
    ledger: Ledger = await all_ended(pair.fleet, asked)
    ledger.check()
    ledger.check_ended(asked)


async def test_when_the_active_one_is_killed_the_other_goes_on(pair: Pair) -> None:
    async with all_once(pair):
        active = await pair.active()
        await pair.decided(5)
        pair.running[active].kill()
        await pair.becomes_active(pair.other(active))


async def test_one_that_was_frozen_and_goes_on_decides_nothing_twice(pair: Pair) -> None:
    async with all_once(pair):
        active = await pair.active()
        await pair.decided(5)
        pair.running[active].send_signal(signal.SIGSTOP)
        await pair.becomes_active(pair.other(active))
        await pair.decided(5)
        pair.running[active].send_signal(signal.SIGCONT)
        await pair.goes_passive(active)
        pair.excuse(active)


async def test_one_that_is_told_to_stop_hands_over(pair: Pair) -> None:
    async with all_once(pair):
        active = await pair.active()
        await pair.decided(5)
        pair.running[active].terminate()
        assert await pair.running[active].wait() == 0
        await pair.becomes_active(pair.other(active))
    (last,) = [index for index, claim in enumerate(pair.said) if claim.released]
    assert pair.said[last].holder == active
    assert pair.said[last + 1].holder == pair.other(active)


async def test_killed_one_after_the_other_they_lose_nothing(pair: Pair) -> None:
    async with AsyncExitStack() as stack, all_once(pair):
        for _ in range(KILLS):
            active = await pair.active()
            await pair.decided(4)
            pair.running[active].kill()
            await pair.running[active].wait()
            await pair.becomes_active(pair.other(active))
            pair.running[active] = await stack.enter_async_context(pair.fleet.scheduler(active))
