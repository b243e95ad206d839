"""The VM as the control plane knows it, and the rule that tells its phase."""

from enum import StrEnum
from typing import Literal, assert_never

from pydantic import Field

from events.desired import ActionVerb
from events.facts import (
    Notice,
    VmBooting,
    VmFact,
    VmPaused,
    VmRunning,
    VmStartFailed,
    VmStarting,
    VmStopped,
    VmStopping,
)
from events.ids import CommandId, Generation, HostId, VmId
from events.spec import MADE_DISKS_MAX, Disk, RunOnce, VmSpec, changed_fields
from events.values import Desired, Name, Placement, Resources, Said, Value, VmPhase

PENDING_MAX = 8
"""Commands that may wait on one VM at once; one more is refused as `too_many_pending`. A stop overtakes them
all but updates, so that there may be as many stops beside these."""


Verb = Literal["start", "stop", "power_off", "reboot", "reset", "pause", "resume", "update", "delete"]
ACTIONS: dict[Verb, ActionVerb] = {
    "pause": ActionVerb.PAUSE,
    "reboot": ActionVerb.REBOOT,
    "reset": ActionVerb.RESET,
    "resume": ActionVerb.RESUME,
    "update": ActionVerb.UPDATE,
}
"""The verbs that a host does once, with the command's id for a token."""


STARTS_MAX = 3
"""Hosts that may fail to start a VM before its start has failed."""


class FailedStart(Value):
    """Why one host could not start a VM."""

    host_id: HostId
    host: str
    message: Said


class PendingCommand(Value):
    """A command whose end depends on what the host will report."""

    command_id: CommandId
    verb: Verb
    grace_s: float = Field(default=0.0, ge=0)
    cold: bool = False
    """A reboot by a stop and a new start, so that pending changes are taken over."""
    failures: tuple[FailedStart, ...] = Field(default=(), max_length=STARTS_MAX)
    """Of a start: the hosts that have failed to do it, and are not asked again."""
    fields: tuple[str, ...] = ()
    """Of an update: what the host shall take over while the VM runs."""


class Vm(Value):
    """The small whole state that every event on a VM's ctl subject carries."""

    vm_id: VmId
    spec: VmSpec
    desired: Desired
    generation: Generation = Generation(0)
    placement: Placement | None = None
    grace_s: float = Field(default=0.0, ge=0)
    pending: tuple[PendingCommand, ...] = ()
    running: VmSpec | None = None
    """What it was started as, with what was changed while it runs; None: placed nowhere, or as `spec`."""
    reserved: Resources | None = None
    """What its placement has set aside; None: placed nowhere, or what `spec` needs."""
    once: RunOnce | None = None
    made_disks: tuple[Name, ...] = Field(default=(), max_length=MADE_DISKS_MAX)
    """Disks that a host has made: from then on a missing one is a loss, and never made anew."""
    left_out: tuple[Disk, ...] = Field(default=(), max_length=MADE_DISKS_MAX)
    """Disks that were made and are no part of `spec` now; each may be put back as it was."""
    last_host_id: HostId | None = None
    """Where it ran last: there its local disks are."""


def reserved_by(vm: Vm) -> Resources:
    """Tell what the placement of *vm* has set aside on its host."""
    return vm.reserved if vm.reserved is not None else vm.spec.resources


def pending_changes(vm: Vm) -> tuple[str, ...]:
    """Name the fields that will be other than they are now from the next start on."""
    return changed_fields(vm.running, vm.spec) if vm.running is not None else ()


def is_current(vm: Vm, fact: VmFact) -> bool:
    """Tell whether *fact* speaks of the placement that *vm* has now; all others are too late to matter."""
    return vm.placement is not None and vm.placement == Placement(
        host_id=fact.host_id, generation=fact.generation
    )


def phase_of(vm: Vm, fact: VmFact | None) -> VmPhase:
    """Tell the phase of *vm*, given the last *fact* that a host reported about it."""
    if vm.desired is Desired.ABSENT:
        return VmPhase.DELETED
    if vm.placement is None:
        return VmPhase.STOPPED
    seen = phase_of_fact(fact) if fact is not None and is_current(vm, fact) else VmPhase.STARTING
    if vm.desired is Desired.STOPPED and seen is not VmPhase.STOPPED:
        return VmPhase.STOPPING
    return seen


def phase_of_fact(fact: VmFact) -> VmPhase:
    """Tell the phase that a host's own report means."""
    match fact:
        case VmStarting():
            return VmPhase.STARTING
        case VmBooting():
            return VmPhase.BOOTING
        case VmRunning():
            return VmPhase.RUNNING
        case VmPaused():
            return VmPhase.PAUSED
        case VmStopping():
            return VmPhase.STOPPING
        case VmStopped() | VmStartFailed():
            return VmPhase.STOPPED
        case Notice():
            return fact.phase
        case _:
            assert_never(fact)


UP = {VmPhase.BOOTING, VmPhase.RUNNING, VmPhase.PAUSED}
"""The phases in which QEMU is there and shall be."""


class Verdict(StrEnum):
    """What a verb means in a phase."""

    DO = "do"
    JOIN = "join"
    """The same is under way: end together with it."""
    ALREADY = "already"
    """Nothing to do: success, and said so."""
    REFUSE = "refuse"


VERB_TABLE: dict[Verb, dict[VmPhase, Verdict]] = {
    "start": {
        VmPhase.STOPPED: Verdict.DO,
        VmPhase.STARTING: Verdict.JOIN,
        VmPhase.BOOTING: Verdict.ALREADY,
        VmPhase.RUNNING: Verdict.ALREADY,
        VmPhase.PAUSED: Verdict.REFUSE,
        VmPhase.STOPPING: Verdict.REFUSE,
    },
    "stop": {
        VmPhase.STOPPED: Verdict.ALREADY,
        VmPhase.STARTING: Verdict.DO,
        VmPhase.BOOTING: Verdict.DO,
        VmPhase.RUNNING: Verdict.DO,
        VmPhase.PAUSED: Verdict.DO,
        VmPhase.STOPPING: Verdict.JOIN,
    },
    "power_off": {
        VmPhase.STOPPED: Verdict.ALREADY,
        VmPhase.STARTING: Verdict.DO,
        VmPhase.BOOTING: Verdict.DO,
        VmPhase.RUNNING: Verdict.DO,
        VmPhase.PAUSED: Verdict.DO,
        VmPhase.STOPPING: Verdict.JOIN,
    },
    "reboot": {
        VmPhase.STOPPED: Verdict.REFUSE,
        VmPhase.STARTING: Verdict.REFUSE,
        VmPhase.BOOTING: Verdict.DO,
        VmPhase.RUNNING: Verdict.DO,
        VmPhase.PAUSED: Verdict.REFUSE,
        VmPhase.STOPPING: Verdict.REFUSE,
    },
    "reset": {
        VmPhase.STOPPED: Verdict.REFUSE,
        VmPhase.STARTING: Verdict.REFUSE,
        VmPhase.BOOTING: Verdict.DO,
        VmPhase.RUNNING: Verdict.DO,
        VmPhase.PAUSED: Verdict.DO,
        VmPhase.STOPPING: Verdict.REFUSE,
    },
    "pause": {
        VmPhase.STOPPED: Verdict.REFUSE,
        VmPhase.STARTING: Verdict.REFUSE,
        VmPhase.BOOTING: Verdict.DO,
        VmPhase.RUNNING: Verdict.DO,
        VmPhase.PAUSED: Verdict.ALREADY,
        VmPhase.STOPPING: Verdict.REFUSE,
    },
    "resume": {
        VmPhase.STOPPED: Verdict.REFUSE,
        VmPhase.STARTING: Verdict.REFUSE,
        VmPhase.BOOTING: Verdict.ALREADY,
        VmPhase.RUNNING: Verdict.ALREADY,
        VmPhase.PAUSED: Verdict.DO,
        VmPhase.STOPPING: Verdict.REFUSE,
    },
    "update": dict.fromkeys(
        (
            VmPhase.STOPPED,
            VmPhase.STARTING,
            VmPhase.BOOTING,
            VmPhase.RUNNING,
            VmPhase.PAUSED,
            VmPhase.STOPPING,
        ),
        Verdict.DO,
    ),
    "delete": {
        VmPhase.STOPPED: Verdict.DO,
        VmPhase.STARTING: Verdict.REFUSE,
        VmPhase.BOOTING: Verdict.REFUSE,
        VmPhase.RUNNING: Verdict.REFUSE,
        VmPhase.PAUSED: Verdict.REFUSE,
        VmPhase.STOPPING: Verdict.REFUSE,
    },
}
"""Which verb in which phase. A deleted VM is in no row: to every verb it is `no_such_vm`."""


def allowed_verbs(phase: VmPhase) -> tuple[Verb, ...]:
    """List the verbs that would change something or join in *phase*, for API, CLI and console to offer."""
    return tuple(verb for verb, row in VERB_TABLE.items() if row.get(phase) in {Verdict.DO, Verdict.JOIN})
