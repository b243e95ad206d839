"""Take one step towards what is desired: the hypervisor's work, each with its line in the journal first."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from events.desired import Action, ActionVerb, DesiredVm
from events.facts import VmFact, VmResponding
from events.ids import HostId, VmId
from infra.runtime.clock import Clock
from infra.runtime.errors import Unavailable
from services.hostd.core import saying
from services.hostd.core.domain import Domain, DomainState
from services.hostd.core.entry import (
    Entry,
    asking,
    creating,
    forcing,
    killing,
    rebooting,
    resuming,
    seen,
)
from services.hostd.core.reconcile import (
    Act,
    AskReboot,
    AskShutdown,
    Finish,
    Forget,
    Idle,
    Next,
    Pause,
    PowerOff,
    ProbeAgent,
    ProbeMonitor,
    RemoveDisks,
    Report,
    Resume,
    Start,
    Undefine,
    Wait,
)
from services.hostd.hypervisor.port import Hypervisor, HypervisorRefused, NoAnswer, StartRefused
from services.hostd.journal import Journal
from services.hostd.remember import Remember
from services.hostd.reporter import Reporter
from services.hostd.turns import Turns

HYPERVISORS = {"vcpus", "memory_mib"}
"""Fields of a spec that are the hypervisor's to change while a guest runs; the others only we heed."""
LOOK_AFTER_S = 0.05
"""When a guest is looked at that has just come up."""
Look = tuple[Entry | None, Domain | None]
"""What is desired, and what is there."""


class Steps:
    """What can be done about one VM; `wake` has a VM looked at after so many seconds."""

    def __init__(
        self,
        *,
        host_id: HostId,
        hypervisor: Hypervisor,
        journal: Journal,
        remember: Remember,
        reporter: Reporter,
        clock: Clock,
        turns: Turns,
        wake: Callable[[VmId, float], None],
    ) -> None:
        self._host_id = host_id
        self._hypervisor = hypervisor
        self._journal = journal
        self._remember = remember
        self._reporter = reporter
        self._clock = clock
        self._turns = turns
        self._wake = wake
        self._logger = structlog.get_logger()

    async def look(self, vm_id: VmId) -> Look:
        """See what is desired, and what is there."""
        # Side by side: what changes in either while the other is read has the VM looked at again.
        entry, domain = await asyncio.gather(
            self._remember(self._journal.entry, vm_id), self._hypervisor.domain(vm_id), return_exceptions=True
        )
        if isinstance(entry, BaseException):
            raise entry
        if entry is None:
            return None, None  # Not ours: whatever the hypervisor says or does not say of it.
        if isinstance(domain, BaseException):
            self._leave(vm_id)  # Whoever waits for a turn and cannot be looked at holds up nobody.
            raise domain
        return seen(entry, domain), domain

    async def prepare(self, desired: DesiredVm) -> None:
        """Have what shall start checked, beside the look and the line that come before its turn."""
        try:
            await self._hypervisor.prepare(desired)
        except (Unavailable, NoAnswer, HypervisorRefused) as err:
            # The start itself meets it again, and says so.
            self._logger.debug("not_prepared", vm_id=str(desired.vm_id), reason=str(err))

    async def take(self, step: Next, entry: Entry, domain: Domain | None) -> Look | None:
        """Take *step* and see what there is then; None where nothing more can be done now."""
        vm_id = entry.desired.vm_id
        if not isinstance(step, Start):
            self._leave(vm_id)
        match step:
            case Idle():
                return None
            case Wait(seconds=seconds):
                self._wake(vm_id, seconds)
                return None
            case Report(fact=fact):
                # What we say does not change what is there; a change wakes us again.
                return await self._reporter.report(fact), domain
            case Finish(action=action, refused=refused):
                return await self._reporter.report(self._done(entry, action, refused)), domain
            case Start():
                return await self._start(entry)
            case ProbeAgent(seconds=seconds):
                if not await self._hypervisor.agent_answers(vm_id):
                    self._wake(vm_id, seconds)
                    return None
                return await self._reporter.report(saying.running(self._host_id, entry, agent=True)), domain
            case Forget():
                await self._remember(self._journal.forget, entry.desired)
                return None
            case _:
                await self._change(step, entry)
                return await self.look(vm_id)

    async def _change(
        self,
        step: AskShutdown
        | PowerOff
        | Pause
        | Resume
        | Act
        | AskReboot
        | Undefine
        | RemoveDisks
        | ProbeMonitor,
        entry: Entry,
    ) -> None:
        vm_id, now = entry.desired.vm_id, self._clock.now()
        match step:
            case AskShutdown():
                await self._note(entry, lambda one: asking(one, now))
                await self._ask(self._hypervisor.ask_shutdown, entry)
            case AskReboot(action=action):
                await self._note(entry, lambda one: rebooting(one, action, now))
                await self._ask(self._hypervisor.ask_reboot, entry)
            case PowerOff(forced=forced, cause=cause):
                if forced:
                    await self._note(entry, forcing)
                if cause is not None:
                    await self._note(entry, lambda one: killing(one, cause))
                await self._hypervisor.power_off(vm_id)
            case Pause():
                await self._pause(entry)
            case Resume(again=again):
                if again:
                    await self._note(entry, lambda one: resuming(one, now))
                await self._hypervisor.resume(vm_id)
            case Act(action=action):
                refused = await self._act(entry, action)
                await self._reporter.report(self._done(entry, action, refused))
            case Undefine():
                await self._hypervisor.undefine(vm_id)
            case RemoveDisks():
                paths = await self._hypervisor.remove_disks(entry.desired)
                gone = tuple(str(path) for path in paths)
                await self._reporter.report(saying.disks_removed(self._host_id, entry, gone))
            case ProbeMonitor():
                await self._hypervisor.monitor_answers(vm_id)
                await self._reporter.report(
                    saying.notice(VmResponding, self._host_id, entry, responding=True)
                )

    async def _pause(self, entry: Entry) -> None:
        """Have it stand still; refused, say so to whoever asked for it."""
        try:
            await self._hypervisor.pause(entry.desired.vm_id)
        except HypervisorRefused as err:
            action = entry.action
            if action is None or action.verb is not ActionVerb.PAUSE:
                raise
            await self._reporter.report(self._done(entry, action, str(err)))

    async def _act(self, entry: Entry, action: Action) -> str | None:
        """Do what is to be done once; give the hypervisor's words where it would not."""
        vm_id = entry.desired.vm_id
        try:
            match action.verb:
                case ActionVerb.RESET | ActionVerb.REBOOT:
                    await self._hypervisor.reset(vm_id)
                case ActionVerb.RESUME:
                    await self._hypervisor.resume(vm_id)
                case ActionVerb.UPDATE if not HYPERVISORS.isdisjoint(action.fields):
                    await self._hypervisor.update(entry.desired)
                case ActionVerb.UPDATE | ActionVerb.PAUSE:
                    pass  # What only we heed is in the entry already; a pause is held, not done once.
        except HypervisorRefused as err:
            return str(err)
        return None

    async def _start(self, entry: Entry) -> Look | None:
        """Start the domain, or find it running; None where its turn has not come."""
        desired = entry.desired
        if not self._turns.take(desired.vm_id, desired.spec.priority):
            return None
        try:
            if not desired.spec.persistent:
                await self._note(entry, creating)
            started = await self._hypervisor.start(desired)
        except HypervisorRefused as err:
            domain = await self._hypervisor.domain(desired.vm_id)
            if domain is not None and domain.state is DomainState.ACTIVE:
                return await self.look(desired.vm_id)  # An earlier call that we gave up on has come true.
            wrong = err if isinstance(err, StartRefused) else StartRefused([])
            failed = saying.start_failed(
                self._host_id,
                entry,
                str(err),
                failures=wrong.failures,
                log_tail=wrong.log_tail,
                disks=wrong.disks,
            )
            return await self._reporter.report(failed), domain
        finally:
            self._leave(desired.vm_id)
        await self._reporter.report(saying.booting(self._host_id, entry, started.effective, started.disks))
        # Look: one that ran already need not be as a new one would, and an order may have come meanwhile.
        # But not now: somebody waits for this word, and a look takes time from those who carry it.
        self._wake(desired.vm_id, LOOK_AFTER_S)
        return None

    async def _ask(self, ask: Callable[[VmId], Awaitable[None]], entry: Entry) -> None:
        try:
            await ask(entry.desired.vm_id)
        except HypervisorRefused as err:
            # The guest may yet go by itself; when grace has run out it is made to.
            self._logger.info("guest_not_asked", vm_id=str(entry.desired.vm_id), reason=str(err))

    async def _note(self, entry: Entry, change: Callable[[Entry], Entry]) -> None:
        await self._remember(self._journal.note, entry.desired, change)

    def _leave(self, vm_id: VmId) -> None:
        for other in self._turns.leave(vm_id):
            self._wake(other, 0.0)

    def _done(self, entry: Entry, action: Action, refused: str | None) -> VmFact:
        return saying.action_done(self._host_id, entry, action, refused)
