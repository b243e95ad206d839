"""Put what is seen into facts. Each carries the whole small state of the run."""

from collections.abc import Iterable
from typing import Any

from events.desired import Action, Done
from events.effective import FAILURES_MAX, Effective, FailureCode, StartFailure, Step
from events.facts import (
    Notice,
    PauseCause,
    StopCause,
    VmActionDone,
    VmBalloonChanged,
    VmBooting,
    VmDeviceChanged,
    VmDisksRemoved,
    VmFact,
    VmIoErrorSeen,
    VmNotResponding,
    VmPanicked,
    VmPaused,
    VmRebooted,
    VmRunning,
    VmStartFailed,
    VmStarting,
    VmStopped,
    VmStopping,
    VmWatchdogFired,
)
from events.ids import HostId
from events.values import MESSAGE_MAX, VmPhase, storable
from services.hostd.core.domain import (
    BalloonChanged,
    DeviceChanged,
    Happening,
    IoError,
    Panicked,
    Rebooted,
    WatchdogFired,
)
from services.hostd.core.entry import Entry


def _state(host_id: HostId, entry: Entry) -> dict[str, Any]:
    desired, run = entry.desired, entry.run
    return {
        "vm_id": desired.vm_id,
        "host_id": host_id,
        "generation": desired.generation,
        "done": run.done,
        "disks": run.disks,
        "responding": run.responding,
    }


def _with_disks(host_id: HostId, entry: Entry, disks: Iterable[str]) -> dict[str, Any]:
    return _state(host_id, entry) | {"disks": tuple(sorted({*entry.run.disks, *disks}))}


def step(kind: type[VmStarting | VmStopping], host_id: HostId, entry: Entry) -> VmFact:
    """Say that the host has begun."""
    return kind(**_state(host_id, entry))


def booting(host_id: HostId, entry: Entry, effective: Effective, disks: tuple[str, ...]) -> VmFact:
    """Say that QEMU runs, and what it was given."""
    return VmBooting(**_with_disks(host_id, entry, disks), steps=tuple(Step), effective=effective)


def running(host_id: HostId, entry: Entry, *, agent: bool) -> VmFact:
    """Say that the guest has spoken, or had the time to."""
    return VmRunning(**_state(host_id, entry), agent=agent)


def paused(host_id: HostId, entry: Entry, cause: PauseCause) -> VmFact:
    """Say that the guest stands still."""
    return VmPaused(**_state(host_id, entry), cause=cause)


def stopped(host_id: HostId, entry: Entry, cause: StopCause) -> VmFact:
    """Say that the domain no longer runs."""
    return VmStopped(**_state(host_id, entry), cause=cause)


def start_failed(
    host_id: HostId,
    entry: Entry,
    message: str,
    *,
    failures: tuple[StartFailure, ...] = (),
    log_tail: str = "",
    disks: tuple[str, ...] = (),
) -> VmFact:
    """Say that the start was refused for good."""
    if not failures:
        failures = (StartFailure(step=Step.START, code=FailureCode.HYPERVISOR, message=message),)
    return VmStartFailed(
        **_with_disks(host_id, entry, disks),
        message=message,
        failures=failures[:FAILURES_MAX],
        log_tail=storable(log_tail, len(log_tail))[-MESSAGE_MAX:],
    )


def notice(kind: type[Notice], host_id: HostId, entry: Entry, **more: Any) -> VmFact:
    """Say that something happened; *more* are the fields of its kind."""
    said: VmFact = kind(**(_state(host_id, entry) | {"phase": entry.phase or VmPhase.STARTING} | more))  # type: ignore[assignment]
    return said


def action_done(host_id: HostId, entry: Entry, action: Action, refused: str | None) -> VmFact:
    """Say that an action was done, or why it could not be."""
    done = Done(token=action.token, refused=refused)
    return notice(
        VmActionDone,
        host_id,
        entry,
        done=(*entry.run.done, done),
        token=action.token,
        verb=action.verb,
    )


def not_responding(host_id: HostId, entry: Entry, call: str) -> VmFact:
    """Say that the hypervisor gave no answer about this guest."""
    return notice(VmNotResponding, host_id, entry, responding=False, call=call)


def disks_removed(host_id: HostId, entry: Entry, paths: tuple[str, ...]) -> VmFact:
    """Say that the files of its disks are gone."""
    return notice(VmDisksRemoved, host_id, entry, phase=VmPhase.DELETED, disks=(), paths=paths)


def happened(host_id: HostId, entry: Entry, happening: Happening) -> VmFact:
    """Say what the hypervisor told of."""
    match happening:
        case Rebooted():
            return notice(VmRebooted, host_id, entry)
        case IoError(disk=disk, reason=reason, action=action):
            return notice(VmIoErrorSeen, host_id, entry, disk=disk, reason=reason, action=action)
        case WatchdogFired(action=action):
            return notice(VmWatchdogFired, host_id, entry, action=action)
        case Panicked():
            return notice(VmPanicked, host_id, entry)
        case BalloonChanged(memory_mib=memory_mib):
            return notice(VmBalloonChanged, host_id, entry, memory_mib=memory_mib)
        case DeviceChanged(device=device, change=change):
            return notice(VmDeviceChanged, host_id, entry, device=device, change=change)
