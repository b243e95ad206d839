"""Take commands and facts, decide, append, acknowledge last."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from uuid import UUID

import structlog

from events import codec, subjects
from events.codes import Code
from events.commands import Command, CreateVm
from events.envelope import Envelope, Origin, Sealed
from events.events import CommandEnded, VmPlaced
from events.facts import HostReported
from events.ids import BEGINNING, CommandId, EventId, HostId, Seq, VmId
from infra.eventlog.port import Conflict, Consumer, Delivery, EventLog, Follower, Recorded, Write
from infra.runtime.backoff import persist
from infra.runtime.clock import Clock
from infra.runtime.errors import Unavailable
from infra.runtime.health import Health
from services.scheduler.core.decide import decide
from services.scheduler.core.decision import NOTHING, Decision, Known
from services.scheduler.core.end import refuse
from services.scheduler.core.settle import capacity_of, enlist, settle
from services.scheduler.memory import Memory
from services.scheduler.settings import SchedulerSettings

FETCH_MAX = 64
FETCH_WAIT_S = 1.0
REDECIDE_MAX = 3
"""Conflicts in a row after which a command goes back to the queue and a fact is looked at again later."""
RETRY_S = 0.2
REASON_MAX = 500
UNREADABLE_RETRY_S = 30.0
SOURCE = "roost/scheduler"
PART = "event log"


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
        self._settings = settings
        self._clock = clock
        self._new_id = new_id
        self._health = health
        self._logger = structlog.get_logger()

    async def start(self) -> Follower:
        """Read the world, settle what was left open, and give the position to go on from."""
        position = await persist(self._health, PART, self._memory.fill)
        world = self._memory.world
        for host_id in sorted(world.reports):
            await self._settle_host(host_id)
        for vm_id in sorted(world.vms):
            await self._settle_vm(vm_id)
        return self._log.follow(position, ["evt.>"])

    async def follow(self, follower: Follower) -> None:
        """Take in what is written to the log, and settle what hosts report, for ever."""
        while True:
            for recorded in await persist(self._health, PART, lambda: follower.next(FETCH_MAX, FETCH_WAIT_S)):
                self._memory.follow(recorded)
                await self._settle(recorded)

    async def serve(self) -> None:
        """Decide commands, for ever."""
        while True:
            if self._memory.too_many_ends:
                await persist(self._health, PART, self._memory.remember_ends)
            for delivery in await persist(
                self._health, PART, lambda: self._commands.fetch(FETCH_MAX, FETCH_WAIT_S)
            ):
                try:
                    await self._handle(delivery)
                except Unavailable as err:
                    # Not acknowledged: it comes again when the log is back.
                    self._logger.warning("command_postponed", seq=delivery.recorded.seq, reason=str(err))

    async def _handle(self, delivery: Delivery) -> None:
        recorded = delivery.recorded
        try:
            vm_id, command_id = subjects.parse_command(recorded.subject)
        except ValueError as err:
            # The projector keeps it on DEAD with the reason; there is no operation that could end.
            self._logger.error("command_unreadable", seq=recorded.seq, reason=str(err))
            await delivery.ack()
            return
        for attempt in range(REDECIDE_MAX):
            ended = self._memory.has_ended(command_id, recorded.seq)
            if ended:
                await delivery.ack()
                return
            if attempt > 0 or ended is None:
                await self._refresh(vm_id, recorded)
                looked_to = await self._look_for_end(vm_id, command_id)
                if looked_to is None:
                    await delivery.ack()
                    return
                if looked_to < self._memory.seq(vm_id):
                    continue  # More was written meanwhile; its end may be in that.
            # From here to the append nothing is awaited: what was looked at is what is decided on.
            if self._any_unreadable(self._reads(vm_id)):
                await delivery.retry(UNREADABLE_RETRY_S)
                return
            decision, envelope = self._decide(vm_id, command_id, recorded)
            if self._too_early(decision):
                await delivery.retry(RETRY_S)
                return
            if self._any_unreadable(decision.guards or {}):
                await delivery.retry(UNREADABLE_RETRY_S)
                return
            actor = envelope.actor if envelope is not None else "unknown"
            if decision is NOTHING or await self._append(decision, actor, recorded.event_id):
                await delivery.ack()
                return
        await delivery.retry(RETRY_S)

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

    def _too_early(self, decision: Decision) -> bool:
        """Tell whether it would be another, had we listened for heartbeats for long enough.

        No host fits, or the one that has the VM's disks was passed by.
        """
        memory = self._memory
        if memory.listening or not memory.silent:
            return False
        for change in decision.changes:
            match change.event:
                case CommandEnded(code=Code.NO_HOST_FITS):
                    return True
                case VmPlaced(vm=vm, placement=placement):
                    if vm.made_disks and vm.last_host_id in memory.silent:
                        return placement.host_id != vm.last_host_id
                case _:
                    pass
        return False

    async def _refresh(self, vm_id: VmId, recorded: Recorded) -> None:
        wanted = [subjects.vm_ctl(vm_id)]
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

    def _reads(self, vm_id: VmId) -> Sequence[str]:
        """Name the subjects that every decision about a VM reads: its own, and its placed host's."""
        known = self._memory.world.vms.get(vm_id)
        placement = known.value.placement if known is not None and known.value is not None else None
        hosts = [subjects.host_ctl(placement.host_id)] if placement is not None else []
        return [subjects.vm_ctl(vm_id), *hosts]

    def _any_unreadable(self, wanted: Iterable[str]) -> bool:
        """Tell whether one cannot be read (said when it was): nothing is decided on that."""
        return any(subject in self._memory.unreadable for subject in wanted)

    async def _settle(self, recorded: Recorded) -> None:
        try:
            subject = subjects.parse_event(recorded.subject)
            host_id, told_of = subject.host_id, subject.uuid if subject.host_id is not None else None
        except ValueError:
            return  # Unreadable, and said so when it was folded.
        if host_id is not None and subject.kind == "host":
            await self._settle_host(host_id)
        elif told_of is not None:
            await self._settle_vm(VmId(told_of))

    async def _settle_vm(self, vm_id: VmId) -> None:
        def attempt() -> Decision:
            return settle(self._memory.scene(vm_id, None))

        await self._persist_decision(attempt, lambda: self._reads(vm_id))

    async def _settle_host(self, host_id: HostId) -> None:
        def attempt() -> Decision:
            report = self._memory.world.reports.get(host_id, Known[HostReported]()).value
            if report is None:
                return NOTHING  # It cannot be read; said when it was folded.
            capacity = capacity_of(report, self._settings.vcpus_per_core, self._settings.host_reserve_mib)
            return enlist(report, self._memory.world.host(host_id), capacity)

        await self._persist_decision(attempt, lambda: [subjects.host_ctl(host_id)])

    async def _persist_decision(
        self, attempt: Callable[[], Decision], reads: Callable[[], Sequence[str]]
    ) -> None:
        """Decide until it is stored or there is nothing to store: a fact is never given up on."""
        while True:
            for _ in range(REDECIDE_MAX):
                if self._any_unreadable(reads()):
                    return
                decision = attempt()
                if decision is NOTHING:
                    return
                if self._too_early(decision):
                    break
                if await persist(self._health, PART, partial(self._append, decision, SOURCE, None)):
                    return
                await persist(self._health, PART, lambda: self._memory.refresh(reads()))
            await asyncio.sleep(RETRY_S)

    async def _append(self, decision: Decision, actor: str, cause: UUID | None) -> bool:
        """Store *decision*; False where a guard did not hold."""
        now, writes = self._clock.now(), []
        for change in decision.changes:
            event_id = EventId(self._new_id())
            origin = Origin(
                source=SOURCE,
                actor=actor,
                causation=change.operation or cause,
                correlation=change.operation,
            )
            sealed = Sealed(
                id=event_id, subject=change.subject, time=now, origin=origin, message=change.event
            )
            writes.append(Write(change.subject, event_id, codec.encode(sealed)))
        try:
            last = await self._log.append(writes, decision.guards or {})
        except Conflict as err:
            self._logger.info("conflict", reason=str(err))
            return False
        for index, change in enumerate(decision.changes):
            seq = Seq(last - len(writes) + 1 + index)
            self._memory.wrote(change.subject, seq, change.event)
            self._logger.info(change.event.TYPE, seq=seq, subject=change.subject)
        return True


def _ends(recorded: Recorded, command_id: CommandId) -> bool:
    try:
        _, message = codec.decode(recorded.body)
    except codec.Undecodable:
        return False
    return isinstance(message, CommandEnded) and message.command_id == command_id
