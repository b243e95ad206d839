"""Take commands and facts, decide, append, acknowledge last."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from uuid import UUID

import structlog

from events import codec, subjects
from events.codes import Code
from events.commands import Command, CreateVm
from events.envelope import Envelope
from events.events import CommandEnded
from events.ids import BEGINNING, CommandId, HostId, Seq, VmId
from infra.eventlog.port import Consumer, Delivery, EventLog, Follower, Recorded
from infra.runtime.backoff import persist
from infra.runtime.clock import Clock
from infra.runtime.errors import Unavailable
from infra.runtime.health import Health
from services.scheduler.batch import Batch
from services.scheduler.core.decide import decide
from services.scheduler.core.decision import NOTHING, Decision
from services.scheduler.core.end import refuse
from services.scheduler.memory import Memory
from services.scheduler.settings import SchedulerSettings
from services.scheduler.settling import PART, RETRY_S, Settling
from services.scheduler.writer import Writer

FETCH_MAX = 128
"""Commands, or events, that are decided on at once, and stored in as few batches as can take them."""
FETCH_WAIT_S = 1.0
REDECIDE_MAX = 3
"""Conflicts in a row after which a command goes back to the queue."""
REASON_MAX = 500
NAMED_MAX = 20
PLANS_MAX = 8
"""Hosts whose failure is planned for at once; between any two lots others have their turn."""
UNREADABLE_RETRY_S = 30.0


class Scheduler:
    """The shell around the decisions."""

    def __init__(
        self,
        *,
        log: EventLog,
        commands: Consumer,
        memory: Memory,
        settings: SchedulerSettings,
        clock: Clock,
        new_id: Callable[[], UUID],
        health: Health,
    ) -> None:
        self._log = log
        self._commands = commands
        self._memory = memory
        self._health = health
        self._writer = Writer(log, clock, new_id)
        self._settling = Settling(memory=memory, writer=self._writer, settings=settings, health=health)
        self._logger = structlog.get_logger()
        self._exposed = frozenset[HostId]()
        """Hosts whose failure could not be borne, as was said last."""

    @property
    def active(self) -> bool:
        """Whether it decides; see tenure.py. For speed alone: guards keep several right that do."""
        return self._settling.active

    @active.setter
    def active(self, active: bool) -> None:
        self._settling.active = active

    async def start(self) -> Follower:
        """Read the world, and give the position to go on from."""
        position = await persist(self._health, PART, self._memory.fill)
        await self._keep_room()
        return self._log.follow(position, ["evt.>"])

    async def settle_open(self) -> None:
        """Settle what was left open; others have their turn between any two."""
        await self._settling.everything()

    async def follow(self, follower: Follower) -> None:
        """Take in what is written to the log, and while active settle what hosts report, for ever."""
        while True:
            records = await persist(self._health, PART, lambda: follower.next(FETCH_MAX, FETCH_WAIT_S))
            await self._settling.take(records)
            await self._keep_room()
            if not self.active and self._memory.too_many_ends:
                await persist(self._health, PART, self._memory.remember_ends)

    async def _keep_room(self) -> None:
        """Plan for hosts that fail ahead of the starts that would wait for it, and say what that finds."""
        failover = self._memory.world.failover
        if failover is None:
            return
        failover.settle(PLANS_MAX)
        while failover.unready:
            await asyncio.sleep(0)
            failover.settle(PLANS_MAX)
        if failover.broken != self._exposed:
            self._exposed = failover.broken
            hosts = [str(host) for host in sorted(self._exposed)]
            tell = self._logger.warning if hosts else self._logger.info
            tell("failures_not_borne", count=len(hosts), host_ids=hosts[:NAMED_MAX])

    async def serve(self) -> None:
        """Decide commands, while active."""
        while self.active:
            if self._memory.too_many_ends:
                await persist(self._health, PART, self._memory.remember_ends)
            deliveries = await persist(
                self._health, PART, lambda: self._commands.fetch(FETCH_MAX, FETCH_WAIT_S)
            )
            try:
                left = await self._decide_together(deliveries)
            except Unavailable as err:
                self._logger.warning("commands_postponed", commands=len(deliveries), reason=str(err))
                await self._give_back(deliveries)
                continue
            await self._one_by_one(left)

    async def _one_by_one(self, deliveries: Sequence[Delivery]) -> None:
        """Handle each; what follows on one that has to wait, on the same VM, waits as well."""
        behind = set[str]()
        for delivery in deliveries:
            if _vm_of(delivery) in behind:
                await self._give_back([delivery])
                continue
            try:
                settled = await self._handle(delivery)
            except Unavailable as err:
                # Not acknowledged: it comes again when the log is back.
                self._logger.warning("command_postponed", seq=delivery.recorded.seq, reason=str(err))
                await self._give_back([delivery])
                settled = False
            if not settled:
                behind.add(_vm_of(delivery))

    async def _give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Have them come again soon; else they do so by themselves, when the server's patience is over."""
        with suppress(Unavailable):
            for delivery in deliveries:
                await delivery.retry(RETRY_S)

    async def _decide_together(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """Decide what needs no second look in one batch; give back the others, to be handled one by one."""
        left, done = list[Delivery](), list[Delivery]()
        asked, behind = set[CommandId](), set[str]()
        async with self._writer.turn:
            batch = Batch(self._memory)
            for delivery in deliveries:
                # What follows on one that has to wait, on the same VM, waits as well.
                vm = _vm_of(delivery)
                decided = self._decide_quickly(delivery, asked) if vm not in behind else None
                if decided is None or not batch.has_room(decided[0]):
                    left.append(delivery)
                    behind.add(vm)
                    continue
                decision, actor = decided
                done.append(delivery)
                if decision is not NOTHING:
                    batch.add(decision, actor, delivery.recorded.event_id)
            if not await self._writer.store(batch):
                return deliveries
        try:
            for delivery in done:
                await delivery.ack(wait=delivery is done[-1])
        except Unavailable as err:
            # They come again, and have ended.
            self._logger.warning("acknowledgements_lost", commands=len(done), reason=str(err))
        return left

    def _decide_quickly(self, delivery: Delivery, asked: set[CommandId]) -> tuple[Decision, str] | None:
        """Decide one command on what is known; None: it has to be looked at by itself."""
        recorded = delivery.recorded
        try:
            vm_id, command_id = subjects.parse_command(recorded.subject)
        except ValueError:
            return None
        # One that came twice is decided once: whether the first has ended is not known before it is stored.
        if command_id in asked or self._memory.has_ended(command_id, recorded.seq) is not False:
            return None
        if self._memory.any_unreadable(self._memory.reads(vm_id)):
            return None
        decision, envelope = self._decide(vm_id, command_id, recorded)
        if self._memory.too_early(decision) or self._memory.any_unreadable(decision.guards or {}):
            return None
        asked.add(command_id)
        return decision, envelope.actor if envelope is not None else "unknown"

    async def _handle(self, delivery: Delivery) -> bool:
        """Decide one command by itself; False where it is to come again."""
        recorded = delivery.recorded
        try:
            vm_id, command_id = subjects.parse_command(recorded.subject)
        except ValueError as err:
            # The projector keeps it on DEAD with the reason; there is no operation that could end.
            self._logger.error("command_unreadable", seq=recorded.seq, reason=str(err))
            await delivery.ack()
            return True
        for attempt in range(REDECIDE_MAX):
            looked_to: Seq | None = None
            if attempt > 0 or self._memory.has_ended(command_id, recorded.seq) is None:
                await self._refresh(vm_id, recorded, hosts=attempt > 0)
                looked_to = await self._look_for_end(vm_id, command_id)
                if looked_to is None:
                    await delivery.ack()
                    return True
            async with self._writer.turn:
                # From here to the append nothing is awaited: what was looked at is what is decided on.
                ended = self._memory.has_ended(command_id, recorded.seq)
                if ended is None and (looked_to is None or looked_to < self._memory.seq(vm_id)):
                    continue  # More was written meanwhile; its end may be in that.
                wait_s = 0.0 if ended else await self._decide_alone(vm_id, command_id, recorded)
            if wait_s is not None:
                await (delivery.retry(wait_s) if wait_s else delivery.ack())
                return wait_s == 0
        await delivery.retry(RETRY_S)
        return False

    async def _decide_alone(self, vm_id: VmId, command_id: CommandId, recorded: Recorded) -> float | None:
        """Decide one command and store that; give in how many seconds it is to come again, 0 for never.

        None: a guard did not hold.
        """
        if self._memory.any_unreadable(self._memory.reads(vm_id)):
            return UNREADABLE_RETRY_S
        decision, envelope = self._decide(vm_id, command_id, recorded)
        if self._memory.too_early(decision):
            return RETRY_S
        if self._memory.any_unreadable(decision.guards or {}):
            return UNREADABLE_RETRY_S
        if decision is NOTHING:
            return 0.0
        batch = Batch(self._memory)
        batch.add(decision, envelope.actor if envelope is not None else "unknown", recorded.event_id)
        return 0.0 if await self._writer.store(batch) else None

    def _decide(
        self, vm_id: VmId, command_id: CommandId, recorded: Recorded
    ) -> tuple[Decision, Envelope | None]:
        try:
            envelope, command = codec.decode(recorded.body)
        except codec.Undecodable as err:
            scene = self._memory.scene(vm_id, None)
            return refuse(command_id, scene, Code.UNREADABLE_COMMAND, {"reason": str(err)[:REASON_MAX]}), None
        if not isinstance(command, Command) or command.vm_id != vm_id:
            reason = f"{envelope.type[:REASON_MAX]} on {recorded.subject} is no command for this VM"
            scene = self._memory.scene(vm_id, None)
            return refuse(command_id, scene, Code.UNREADABLE_COMMAND, {"reason": reason}), envelope
        name = command.spec.name if isinstance(command, CreateVm) else None
        return decide(command_id, command, self._memory.scene(vm_id, name)), envelope

    async def _refresh(self, vm_id: VmId, recorded: Recorded, *, hosts: bool) -> None:
        """Read again what a decision reads; the *hosts* only after a conflict: they may be many."""
        wanted = [subjects.vm_ctl(vm_id)]
        if hosts:
            wanted += [subjects.host_ctl(view.host.host_id) for view in self._memory.world.fleet]
        try:
            _, command = codec.decode(recorded.body)
            if isinstance(command, CreateVm):
                wanted.append(subjects.name_claim(command.spec.name))
        except codec.Undecodable:
            pass  # It is about to be refused; no claim is needed for that.
        await self._memory.refresh(wanted)

    async def _look_for_end(self, vm_id: VmId, command_id: CommandId) -> Seq | None:
        """Read the VM's history in the log itself: None where the command has ended, else how far we read."""
        ctl = subjects.vm_ctl(vm_id)
        last = await self._log.load(ctl)
        if last is None:
            return BEGINNING
        follower = self._log.follow(BEGINNING, [ctl])
        try:
            while follower.position < last.seq:
                for recorded in await follower.next(FETCH_MAX, FETCH_WAIT_S):
                    if _ends(recorded, command_id):
                        return None
            return follower.position
        finally:
            await follower.close()


def _vm_of(delivery: Delivery) -> str:
    """Name the VM that a command is about, as far as its subject tells."""
    return delivery.recorded.subject.rpartition(".")[0]


def _ends(recorded: Recorded, command_id: CommandId) -> bool:
    try:
        _, message = codec.decode(recorded.body)
    except codec.Undecodable:
        return False
    return isinstance(message, CommandEnded) and message.command_id == command_id
