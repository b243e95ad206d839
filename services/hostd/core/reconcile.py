"""Say the next step that brings one VM from what is seen to what is desired.

Level-triggered: it never asks how things came to be as they are, so that a step which was interrupted at
any point is simply met again. Every step but Idle and Wait changes what the next call sees.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import assert_never

from events.facts import (
    MESSAGE_MAX,
    StopCause,
    VmBooting,
    VmFact,
    VmRunning,
    VmStartFailed,
    VmStarting,
    VmStopped,
    VmStopping,
)
from events.ids import Generation, HostId, VmId
from events.values import Desired, DesiredVm

ASK_AGAIN_S = 3.0
"""A guest that is still booting does not hear the first request to shut down."""
PROBE_AGAIN_S = 0.5
ENDED = {StopCause.GUEST, StopCause.POWERED_OFF}
"""Causes that only a domain which ran can have; a start that failed leaves `crashed` behind, or nothing."""


class DomainState(StrEnum):
    """What the hypervisor says of a domain."""

    ACTIVE = "active"
    """QEMU runs, whatever the guest does: running, paused, shutting down."""
    OFF = "off"


@dataclass(frozen=True)
class Domain:
    """One of our domains, as the hypervisor shows it."""

    vm_id: VmId
    generation: Generation
    state: DomainState
    agent: bool = False
    """The guest's agent has opened its channel."""
    cause: StopCause = StopCause.LOST
    """Why it is off, where it is."""


@dataclass(frozen=True)
class Entry:
    """What the host's journal holds about one VM."""

    desired: DesiredVm
    reported: VmFact | None = None
    """The last fact that was written down to be published about this generation."""
    stop_by: datetime | None = None
    """When grace ends, counted from when the stop was read."""
    asked_at: datetime | None = None
    """When the guest was last asked to shut down."""
    forced: bool = False
    """We powered it off because its grace had run out."""


@dataclass(frozen=True)
class Report:
    """Write a fact down and publish it."""

    fact: VmFact


@dataclass(frozen=True)
class Start:
    """Define the domain anew and create it."""


@dataclass(frozen=True)
class AskShutdown:
    """Ask the guest to shut down."""


@dataclass(frozen=True)
class PowerOff:
    """End QEMU; *forced* where grace ran out."""

    forced: bool


@dataclass(frozen=True)
class Undefine:
    """Remove the definition of a domain that is off."""


@dataclass(frozen=True)
class Forget:
    """Remove the journal's entry: nothing is left to do."""


@dataclass(frozen=True)
class ProbeAgent:
    """Ask the guest's agent whether it answers; it reports or comes back after PROBE_AGAIN_S."""


@dataclass(frozen=True)
class Wait:
    """Nothing to do before this many seconds have passed or something changes."""

    seconds: float


@dataclass(frozen=True)
class Idle:
    """Nothing to do until something changes."""


Step = Report | Start | AskShutdown | PowerOff | Undefine | Forget | ProbeAgent | Wait | Idle


def reconcile(host_id: HostId, entry: Entry, domain: Domain | None, now: datetime) -> Step:
    """Say the next step about the VM of *entry*."""
    if domain is not None and domain.generation > entry.desired.generation:
        return Idle()  # A later placement's domain; the entry that explains it is on its way to us.
    match entry.desired.desired:
        case Desired.RUNNING:
            return _run(host_id, entry, domain)
        case Desired.STOPPED:
            return _stop(host_id, entry, domain, now)
        case Desired.ABSENT:
            return _remove(domain)
        case _:
            assert_never(entry.desired.desired)


def _run(host_id: HostId, entry: Entry, domain: Domain | None) -> Step:
    desired = entry.desired
    if domain is not None and domain.state is DomainState.ACTIVE:
        if domain.generation < desired.generation:
            return PowerOff(forced=False)  # It runs without a right: its own placement was released.
        return _watch(host_id, entry, domain)
    match entry.reported:
        case None:
            return Report(fact(VmStarting, host_id, desired))
        case VmStarting():
            if domain is not None and domain.generation == desired.generation and domain.cause in ENDED:
                return Report(stopped(host_id, desired, domain.cause))  # It ran while nobody looked.
            return Start()
        case VmBooting() | VmRunning() | VmStopping():
            cause = domain.cause if domain is not None else StopCause.LOST
            return Report(stopped(host_id, desired, cause))
        case VmStopped() | VmStartFailed():
            return Idle()  # It was said; whether it starts again is not ours to decide.
        case _:
            assert_never(entry.reported)


def _watch(host_id: HostId, entry: Entry, domain: Domain) -> Step:
    match entry.reported:
        case None | VmStarting() | VmStopping():
            return Report(fact(VmBooting, host_id, entry.desired))
        case VmBooting():
            return ProbeAgent() if domain.agent else Idle()
        case VmRunning() | VmStopped() | VmStartFailed():
            return Idle()
        case _:
            assert_never(entry.reported)


def _stop(host_id: HostId, entry: Entry, domain: Domain | None, now: datetime) -> Step:
    desired = entry.desired
    if domain is None or domain.state is DomainState.OFF:
        if isinstance(entry.reported, VmStopped | VmStartFailed):
            return Idle()
        cause = StopCause.FORCED if entry.forced else StopCause.COMMANDED
        return Report(stopped(host_id, desired, cause))
    if not isinstance(entry.reported, VmStopping):
        return Report(fact(VmStopping, host_id, desired))
    if entry.stop_by is None or now >= entry.stop_by:
        return PowerOff(forced=True)
    if entry.asked_at is None or now >= entry.asked_at + timedelta(seconds=ASK_AGAIN_S):
        return AskShutdown()
    next_at = min(entry.stop_by, entry.asked_at + timedelta(seconds=ASK_AGAIN_S))
    return Wait((next_at - now).total_seconds())


def _remove(domain: Domain | None) -> Step:
    if domain is None:
        return Forget()
    if domain.state is DomainState.ACTIVE:
        return PowerOff(forced=False)  # The placement is over: nothing gives it the right to run here.
    return Undefine()


def fact(
    kind: type[VmStarting | VmBooting | VmRunning | VmStopping], host_id: HostId, desired: DesiredVm
) -> VmFact:
    """Make a fact that says no more than its kind."""
    return kind(vm_id=desired.vm_id, host_id=host_id, generation=desired.generation)


def stopped(host_id: HostId, desired: DesiredVm, cause: StopCause) -> VmFact:
    """Make the fact that the domain no longer runs."""
    return VmStopped(vm_id=desired.vm_id, host_id=host_id, generation=desired.generation, cause=cause)


def start_failed(host_id: HostId, desired: DesiredVm, message: str) -> VmFact:
    """Make the fact that the hypervisor refused for good."""
    return VmStartFailed(
        vm_id=desired.vm_id,
        host_id=host_id,
        generation=desired.generation,
        message=message[:MESSAGE_MAX],
    )


def fold(entry: Entry | None, desired: DesiredVm, now: datetime) -> Entry | None:
    """Take a new desired entry in; None where it is of a generation that is over already."""
    if entry is None or entry.desired.generation < desired.generation:
        return Entry(desired, stop_by=_stop_by(desired, now))
    if entry.desired.generation > desired.generation:
        return None
    return Entry(
        desired,
        reported=entry.reported,
        stop_by=_stop_by(desired, now),
        asked_at=entry.asked_at,
        forced=entry.forced,
    )


def _stop_by(desired: DesiredVm, now: datetime) -> datetime | None:
    if desired.desired is not Desired.STOPPED:
        return None
    return now + timedelta(seconds=desired.grace_s)
