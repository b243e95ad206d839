"""Say the next step that brings one VM from what is seen to what is desired.

Level-triggered: it never asks how things came to be as they are, so that a step which was interrupted at
any point is simply met again. Every step but Idle and Wait changes what the next call sees.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

from events.desired import Action, ActionVerb
from events.facts import (
    PauseCause,
    StopCause,
    VmAgentConnected,
    VmAgentGone,
    VmDisksRemoved,
    VmFact,
    VmResumed,
    VmStarting,
    VmStopping,
)
from events.ids import HostId
from events.spec import ErrorPolicy
from events.values import Desired, VmPhase
from services.hostd.core import saying
from services.hostd.core.domain import Domain, DomainState
from services.hostd.core.entry import ERRORS, Entry

ASK_AGAIN_S = 3.0
"""A guest that is still booting does not hear the first request to shut down."""
REBOOT_AGAIN_S = 15.0
"""Longer: asked while it is on its way it could reboot twice."""
PROBE_AGAIN_S = 0.5
WORKED_ON_S = 1.0
"""When a guest is looked at again that the hypervisor has paused for work of its own."""
NOTICE_EVERY_S = 10.0
"""How often one kind of thing is told of a guest: what happens in it is the guest's to choose."""
ENDED = {StopCause.GUEST, StopCause.POWERED_OFF}
"""Causes that only a domain which ran can have; a start that failed leaves `crashed` behind, or nothing."""


@dataclass(frozen=True)
class Report:
    """Write a fact down and publish it."""

    fact: VmFact


@dataclass(frozen=True)
class Start:
    """Take the domain through all steps of a start; one that runs already in this generation is adopted."""


@dataclass(frozen=True)
class AskShutdown:
    """Ask the guest to shut down."""


@dataclass(frozen=True)
class PowerOff:
    """End QEMU; *forced* where grace ran out, *cause* where its policy says so."""

    forced: bool = False
    cause: StopCause | None = None


@dataclass(frozen=True)
class Pause:
    """Have the guest stand still."""


@dataclass(frozen=True)
class Resume:
    """Have the guest go on; *again* where that is tried after an error."""

    again: bool = False


@dataclass(frozen=True)
class Act:
    """Do what is to be done once, and say so."""

    action: Action


@dataclass(frozen=True)
class AskReboot:
    """Ask the guest to reboot."""

    action: Action


@dataclass(frozen=True)
class Finish:
    """Say that the action has been done, or why it cannot be."""

    action: Action
    refused: str | None = None


@dataclass(frozen=True)
class Undefine:
    """Remove the definition of a domain that is off."""


@dataclass(frozen=True)
class RemoveDisks:
    """Remove the files of the disks, and say so."""


@dataclass(frozen=True)
class Forget:
    """Remove the journal's entry: nothing is left to do."""


@dataclass(frozen=True)
class ProbeAgent:
    """Ask the guest's agent whether it answers; it reports, or comes back after *seconds*."""

    seconds: float


@dataclass(frozen=True)
class ProbeMonitor:
    """Ask QEMU whether it answers again; it reports, or comes back."""


@dataclass(frozen=True)
class Wait:
    """Nothing to do before this many seconds have passed or something changes."""

    seconds: float


@dataclass(frozen=True)
class Idle:
    """Nothing to do until something changes."""


Next = (
    Report
    | Start
    | AskShutdown
    | PowerOff
    | Pause
    | Resume
    | Act
    | AskReboot
    | Finish
    | Undefine
    | RemoveDisks
    | Forget
    | ProbeAgent
    | ProbeMonitor
    | Wait
    | Idle
)


def reconcile(host_id: HostId, entry: Entry, domain: Domain | None, now: datetime) -> Next:
    """Say the next step about the VM of *entry*."""
    if domain is not None and domain.generation > entry.desired.generation:
        return Idle()  # A later placement's domain; the entry that explains it is on its way to us.
    match entry.desired.desired:
        case Desired.RUNNING | Desired.PAUSED:
            return _run(host_id, entry, domain, now)
        case Desired.STOPPED:
            return _stop(host_id, entry, domain, now)
        case Desired.ABSENT:
            return _remove(entry, domain)
        case _:
            assert_never(entry.desired.desired)


def _run(host_id: HostId, entry: Entry, domain: Domain | None, now: datetime) -> Next:
    if domain is not None and domain.state is DomainState.ACTIVE:
        if domain.generation < entry.desired.generation:
            return PowerOff()  # It runs without a right: its own placement was released.
        return _watch(host_id, entry, domain, now)
    match entry.phase:
        case None:
            return Report(saying.step(VmStarting, host_id, entry))
        case VmPhase.STARTING:
            generation = entry.desired.generation
            if domain is not None and domain.generation == generation and domain.cause in ENDED:
                return Report(saying.stopped(host_id, entry, domain.cause))  # It ran while nobody looked.
            if domain is None and entry.run.created:
                return Report(saying.stopped(host_id, entry, StopCause.LOST))  # It may have, too.
            return Start()
        case VmPhase.STOPPED | VmPhase.DELETED:
            return Idle()  # It was said; whether it starts again is not ours to decide.
        case VmPhase.BOOTING | VmPhase.RUNNING | VmPhase.PAUSED | VmPhase.STOPPING:
            cause = domain.cause if domain is not None else StopCause.LOST
            return Report(saying.stopped(host_id, entry, entry.run.killed or cause))
        case _:
            assert_never(entry.phase)


def _watch(host_id: HostId, entry: Entry, domain: Domain, now: datetime) -> Next:
    """See to a domain that runs in this generation and shall."""
    if entry.is_over:
        return Idle()  # It was said to be over, and came true afterwards; the word on it is on its way.
    if entry.phase in {None, VmPhase.STARTING, VmPhase.STOPPING}:
        return Start()  # It runs, and that was not said: an answer of ours was lost.
    if not entry.run.responding:
        return ProbeMonitor()
    if domain.paused is not None:
        return _see_to_paused(host_id, entry, domain.paused, now)
    if entry.phase is VmPhase.PAUSED:
        phase = VmPhase.RUNNING if entry.run.up else VmPhase.BOOTING
        return Report(saying.notice(VmResumed, host_id, entry, phase=phase))
    if entry.desired.desired is Desired.PAUSED and not entry.would_not_pause:
        return Pause()
    if entry.action is not None:
        return _act(entry, entry.action, now)
    if entry.phase is VmPhase.BOOTING:
        return _await_guest(host_id, entry, domain, now)
    if domain.agent != entry.run.agent:
        return _say_agent(host_id, entry, domain, now)
    return Idle()


def _say_agent(host_id: HostId, entry: Entry, domain: Domain, now: datetime) -> Next:
    """Say that the agent has come or gone, but not as often as a guest may please to do that."""
    if entry.run.agent_at is not None:
        left = (entry.run.agent_at + timedelta(seconds=NOTICE_EVERY_S) - now).total_seconds()
        if left > 0:
            return Wait(left)
    kind = VmAgentConnected if domain.agent else VmAgentGone
    return Report(saying.notice(kind, host_id, entry))


def _await_guest(host_id: HostId, entry: Entry, domain: Domain, now: datetime) -> Next:
    if entry.run.booted_at is None:
        return Report(saying.running(host_id, entry, agent=False))  # It boots since before that was kept.
    until = entry.run.booted_at + timedelta(seconds=entry.desired.spec.agent_wait_s)
    left = (until - now).total_seconds()
    if left <= 0:
        return Report(saying.running(host_id, entry, agent=False))
    return ProbeAgent(min(PROBE_AGAIN_S, left)) if domain.agent else Wait(left)


def _see_to_paused(host_id: HostId, entry: Entry, cause: PauseCause, now: datetime) -> Next:
    if entry.phase is not VmPhase.PAUSED or entry.run.paused is not cause:
        return Report(saying.paused(host_id, entry, cause))
    if cause is PauseCause.OTHER:
        return Wait(WORKED_ON_S)  # The hypervisor is at work on it, and goes on by itself.
    if entry.action is not None:
        return _act_paused(entry, entry.action, cause)
    if entry.desired.desired is Desired.PAUSED:
        return Idle()
    if cause is PauseCause.USER:
        return Resume()
    if cause not in ERRORS:
        return Idle()  # A watchdog or a crash: someone wants to look at it.
    match entry.desired.spec.on_io_error:
        case ErrorPolicy.KILL:
            return PowerOff(cause=StopCause.IO_ERROR)
        case ErrorPolicy.LEAVE_PAUSED:
            return Idle()
        case ErrorPolicy.AUTO_RESUME:
            left = ((entry.resume_at or now) - now).total_seconds()
            return Wait(left) if left > 0 else Resume(again=True)
        case _:
            assert_never(entry.desired.spec.on_io_error)


def _act_paused(entry: Entry, action: Action, cause: PauseCause) -> Next:
    """See to what is to be done once, with a guest that stands still: it cannot hear that it shall reboot."""
    if action.verb is ActionVerb.PAUSE:
        return Finish(action)
    if action.verb is not ActionVerb.REBOOT:
        return Act(action)
    begun = entry.run.begun
    if begun is not None and begun.token == action.token and begun.seen:
        return Finish(action)
    return Finish(action, refused=f"the guest stands still ({cause}): it cannot reboot by itself")


def _act(entry: Entry, action: Action, now: datetime) -> Next:
    """See to what is to be done once, with a guest that is not paused."""
    match action.verb:
        case ActionVerb.RESET | ActionVerb.UPDATE:
            return Act(action)
        case ActionVerb.RESUME | ActionVerb.PAUSE:
            return Finish(action)  # it goes on; or it shall go on again, and this is overtaken
        case ActionVerb.REBOOT:
            return _reboot(entry, action, now)
        case _:
            assert_never(action.verb)


def _reboot(entry: Entry, action: Action, now: datetime) -> Next:
    begun = entry.run.begun
    if begun is None or begun.token != action.token:
        return AskReboot(action) if action.grace_s > 0 else Act(action)
    if begun.seen:
        return Finish(action)
    until = begun.at + timedelta(seconds=action.grace_s)
    if now >= until:
        return Act(action)  # It would not: it is reset.
    again = begun.asked_at + timedelta(seconds=REBOOT_AGAIN_S)
    if now >= again:
        return AskReboot(action)
    return Wait((min(until, again) - now).total_seconds())


def _stop(host_id: HostId, entry: Entry, domain: Domain | None, now: datetime) -> Next:
    if domain is None or domain.state is DomainState.OFF:
        if entry.phase is VmPhase.STOPPED:
            return Idle()
        cause = StopCause.FORCED if entry.forced else StopCause.COMMANDED
        return Report(saying.stopped(host_id, entry, cause))
    if entry.phase is not VmPhase.STOPPING:
        return Report(saying.step(VmStopping, host_id, entry))
    if entry.stop_by is None or now >= entry.stop_by:
        return PowerOff(forced=True)
    if domain.paused is PauseCause.USER and domain.generation == entry.desired.generation:
        return Resume()  # It cannot hear while it stands still.
    if entry.asked_at is None or now >= entry.asked_at + timedelta(seconds=ASK_AGAIN_S):
        return AskShutdown()
    next_at = min(entry.stop_by, entry.asked_at + timedelta(seconds=ASK_AGAIN_S))
    return Wait((next_at - now).total_seconds())


def _remove(entry: Entry, domain: Domain | None) -> Next:
    if domain is not None and domain.state is DomainState.ACTIVE:
        return PowerOff()  # The placement is over: nothing gives it the right to run here.
    if domain is not None and domain.saved:
        return Idle()  # A guest's memory is in there, which someone has saved past roost.
    if domain is not None:
        return Undefine()
    if entry.desired.remove_disks and not isinstance(entry.reported, VmDisksRemoved):
        return RemoveDisks()
    return Forget()
