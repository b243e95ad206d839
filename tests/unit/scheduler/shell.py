"""A scheduler's shell on twins: memory in place of NATS, time that a test moves."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from events import subjects
from events.codec import decode
from events.commands import Command
from events.events import CommandEnded
from events.facts import HostReported, VmFact
from events.ids import BEGINNING, CommandId, HostId, Seq
from infra.eventlog.memory import Fault, MemoryConsumer, MemoryFollower, MemoryLog, MemoryStream
from infra.eventlog.port import Delivery, EventLog, Guards, Recorded, Write
from infra.leases.memory import MemoryLeases
from infra.leases.port import Leases
from infra.leases.service import ServiceLease
from infra.leases.term import Timing
from infra.runtime.errors import Unavailable
from infra.runtime.health import Health
from infra.runtime.ids import random_id
from services.scheduler.core.failover import Admission
from services.scheduler.core.world import World
from services.scheduler.handler import Scheduler
from services.scheduler.memory import Memory
from services.scheduler.settings import SchedulerSettings
from services.scheduler.tenure import Commands, Tenure
from sim.checkers.ledger import Ledger
from sim.reading import read_ledger
from tests.support.builders import a_write, report
from tests.support.still_clock import StillClock

PATIENCE_S = 5.0
TURNS, TURNS_MAX = 50, 5000
LEASE = subjects.service_lease("scheduler")
TIMING = Timing(renew_s=0, again_s=0, look_s=0)
"""Whoever holds or watches does so at each turn; what counts is the clock that a test moves."""


@dataclass
class Wire:
    """How one process reaches the others; whoever is killed reaches nobody any more."""

    cut: bool = False
    no_goodbye: bool = False
    """Who gives its commands back gets no answer."""

    def carry(self) -> None:
        """Let something through."""
        if self.cut:
            raise Unavailable("wire", "the process was killed")


class Held:
    """A command in the hands of one process."""

    def __init__(self, delivery: Delivery, wire: Wire) -> None:
        self._delivery, self._wire = delivery, wire
        self.recorded = delivery.recorded

    async def ack(self, *, wait: bool = True) -> None:
        self._wire.carry()
        await self._delivery.ack(wait=wait)

    async def retry(self, delay_s: float) -> None:
        self._wire.carry()
        await self._delivery.retry(delay_s)


class Reader:
    """One of several readers of one durable consumer; it fetches nothing ahead."""

    def __init__(self, consumer: MemoryConsumer, wire: Wire) -> None:
        self._consumer, self._wire = consumer, wire

    async def fetch(self, most: int, wait_s: float) -> Sequence[Delivery]:
        return [Held(one, self._wire) for one in await self._consumer.fetch(most, wait_s)]

    async def close(self) -> None:
        self._wire.carry()
        if self._wire.no_goodbye:
            raise Unavailable("commands", "no answer")

    async def reclaim(self) -> None:
        self._wire.carry()
        await self._consumer.reclaim()


class Wired:
    """Leases as one process reaches them."""

    def __init__(self, leases: Leases, wire: Wire) -> None:
        self._leases, self._wire = leases, wire

    async def look(self, subject: str) -> Recorded | None:
        self._wire.carry()
        return await self._leases.look(subject)

    async def say(self, write: Write, guard: Seq) -> Seq:
        self._wire.carry()
        return await self._leases.say(write, guard)


@dataclass
class Process:
    """One scheduler. It ends as by a kill, unless it is told to stop."""

    scheduler: Scheduler
    wire: Wire
    task: asyncio.Task[None]

    def active(self) -> bool:
        return self.scheduler.active

    def stop(self) -> None:
        """End it as a supervisor does that may wait."""
        self.task.cancel()

    def kill(self) -> None:
        """End it, at whichever await it is."""
        self.wire.cut = True
        self.task.cancel()


@dataclass
class Control:
    """One log, one queue of commands, and as many schedulers as a test starts."""

    events: MemoryStream = field(default_factory=MemoryStream)
    asked: MemoryStream = field(default_factory=MemoryStream)
    clock: StillClock = field(default_factory=StillClock)
    leases: MemoryLeases = field(default_factory=MemoryLeases)
    hosts: list[HostId] = field(default_factory=list)
    failures_tolerated: int = 0

    def __post_init__(self) -> None:
        self.log, self.queue = MemoryLog(self.events), MemoryLog(self.asked)
        self.consumer = MemoryConsumer(self.asked, "cmd.>")
        self.memories: list[Memory] = []

    async def host(self, host: HostId, *, cores: int = 2, memory_mib: int = 4608) -> None:
        """Let a host report itself, and be heard."""
        self.hosts.append(host)
        await self.tell(report(host, cores=cores, memory_mib=memory_mib))

    async def tell(self, fact: VmFact | HostReported) -> None:
        """Let a host say something."""
        subject = (
            subjects.host_fact(fact.host_id)
            if isinstance(fact, HostReported)
            else subjects.vm_fact(fact.vm_id, fact.host_id)
        )
        await self.log.append([a_write(subject, fact)], {})

    async def ask(self, id_: CommandId, command: Command) -> None:
        """Queue a command."""
        subject = subjects.command(command.vm_id, id_)
        await self.queue.append([a_write(subject, command, event_id=id_, operation=id_)], {})

    async def ask_at_once(self, asked: Mapping[CommandId, Command]) -> None:
        """Queue commands so that they are fetched together."""
        writes = [
            a_write(subjects.command(command.vm_id, id_), command, event_id=id_, operation=id_)
            for id_, command in asked.items()
        ]
        await self.queue.append(writes, {write.subject: BEGINNING for write in writes})

    @asynccontextmanager
    async def scheduler(
        self,
        log: EventLog | None = None,
        *,
        replica: str = "one",
        leases: Leases | None = None,
        clock: StillClock | None = None,
    ) -> AsyncIterator[Process]:
        """Run a scheduler, and kill it."""
        log, clock, wire = log or self.log, clock or self.clock, Wire()
        world = World(failures_tolerated=self.failures_tolerated, admission=Admission.WARN)
        memory = Memory(log, self.queue, clock, world=world)
        self.memories.append(memory)
        commands = Commands(Reader(self.consumer, wire))
        scheduler = Scheduler(
            log=log,
            commands=commands,
            memory=memory,
            settings=SchedulerSettings.model_validate({"nats_seed_file": "none"}),
            clock=clock,
            new_id=random_id,
            health=Health(),
        )
        for host in self.hosts:
            memory.heard(subjects.heartbeat(host), b"")
        lease = ServiceLease(
            Wired(leases or self.leases, wire),
            LEASE,
            holder=replica,
            new_id=random_id,
            clock=clock,
            timing=TIMING,
        )
        tenure = Tenure(scheduler=scheduler, commands=commands, lease=lease, health=Health())

        async def life() -> None:
            follower = await scheduler.start()
            await asyncio.gather(scheduler.follow(follower), tenure.live())

        async with asyncio.TaskGroup() as group:
            process = Process(scheduler, wire, group.create_task(life()))
            yield process
            process.kill()

    async def see(self, holds: Callable[[Ledger], bool]) -> Ledger:
        """Wait, event by event, until the log tells that *holds*; give what it tells."""
        follower = self.log.follow(Seq(0), ["evt.>"])
        async with asyncio.timeout(PATIENCE_S):
            while not holds(ledger := await read_ledger(self.log)):
                await follower.next(1000, PATIENCE_S)
        ledger.check()
        return ledger

    async def ended(self, *ids: CommandId) -> Ledger:
        """Wait until all of these commands have ended."""
        return await self.see(lambda ledger: all(ledger.ends[one] for one in ids))

    async def settled(self) -> None:
        """Wait until every command was acknowledged."""
        for _ in range(TURNS_MAX):
            if not self.consumer.under_way:
                return
            await asyncio.sleep(0)
        raise AssertionError(f"not acknowledged: {self.consumer.under_way}")

    async def turns(self) -> None:
        """Let everybody do what they can do now."""
        for _ in range(TURNS):
            await asyncio.sleep(0)

    def end_of(self, id_: CommandId) -> CommandEnded:
        """Give the one end of a command."""
        found = [decode(one.body)[1] for one in self.events.messages]
        (end,) = [one for one in found if isinstance(one, CommandEnded) and one.command_id == id_]
        return end


class Turns(MemoryLog):
    """A log whose every call lets others have their turn first, as a network does."""

    async def append(self, writes: Sequence[Write], guards: Guards) -> Seq:
        await asyncio.sleep(0)
        seq = await super().append(writes, guards)
        await asyncio.sleep(0)
        return seq

    async def load(self, subject: str) -> Recorded | None:
        await asyncio.sleep(0)
        found = await super().load(subject)
        await asyncio.sleep(0)
        return found


class DiesAfterAppend(MemoryLog):
    """A log whose *fatal*th append is stored and never answered: its caller is killed there."""

    def __init__(self, stream: MemoryStream, fatal: int) -> None:
        super().__init__(stream)
        self._left = fatal
        self.reached = asyncio.Event()

    async def append(self, writes: Sequence[Write], guards: Guards) -> Seq:
        seq = await super().append(writes, guards)
        self._left -= 1
        if self._left == 0:
            self.reached.set()
            await asyncio.Event().wait()
        return seq


class FailsOnce(Turns):
    """A log one of whose appends fails; then what was not acknowledged is delivered again."""

    def __init__(self, stream: MemoryStream, at: int, fault: Fault, consumer: MemoryConsumer) -> None:
        super().__init__(stream)
        self._at, self._fault, self._consumer, self._faults = at, fault, consumer, stream.faults
        self._count = -1

    async def append(self, writes: Sequence[Write], guards: Guards) -> Seq:
        self._count += 1
        if self._count != self._at:
            return await super().append(writes, guards)
        self._faults.append(self._fault)
        for seq in sorted(self._consumer.under_way):
            await self._consumer.redeliver(seq)
        return await super().append(writes, guards)


class ActsAfterLook(Turns):
    """A log on which something happens just after one subject's history has been read, once."""

    def __init__(self, stream: MemoryStream, act: Callable[[], Awaitable[None]]) -> None:
        super().__init__(stream)
        self._act = act
        self.acted = False

    def follow(self, after: Seq, patterns: Sequence[str]) -> MemoryFollower:
        follower = super().follow(after, patterns)
        if not self.acted and after == BEGINNING:
            follower.close = self._close  # type: ignore[method-assign]
        return follower

    async def _close(self) -> None:
        self.acted = True
        await self._act()
