"""The VM as the control plane knows it, and the rule that tells its phase."""

from enum import StrEnum
from typing import Literal, assert_never

from pydantic import Field

from events.facts import (
    VmBooting,
    VmFact,
    VmRunning,
    VmStartFailed,
    VmStarting,
    VmStopped,
    VmStopping,
)
from events.ids import CommandId, Generation, VmId
from events.values import Desired, Placement, Value, VmPhase, VmSpec

PENDING_MAX = 8
"""Commands that may wait on one VM at once; one more is refused as `too_many_pending`."""


class PendingCommand(Value):
    """A command whose end depends on what the host will report."""

    command_id: CommandId
    verb: Literal["start", "stop"]


class Vm(Value):
    """The small whole state that every event on a VM's ctl subject carries."""

    vm_id: VmId
    spec: VmSpec
    desired: Desired
    generation: Generation = Generation(0)
    placement: Placement | None = None
    grace_s: float = Field(default=0.0, ge=0)
    pending: tuple[PendingCommand, ...] = ()


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
        case VmStopping():
            return VmPhase.STOPPING
        case VmStopped() | VmStartFailed():
            return VmPhase.STOPPED
        case _:
            assert_never(fact)


class Verdict(StrEnum):
    """What a verb means in a phase."""

    DO = "do"
    JOIN = "join"
    """The same is under way: end together with it."""
    ALREADY = "already"
    """Nothing to do: success, and said so."""
    REFUSE = "refuse"


Verb = Literal["start", "stop", "delete"]

VERB_TABLE: dict[Verb, dict[VmPhase, Verdict]] = {
    "start": {
        VmPhase.STOPPED: Verdict.DO,
        VmPhase.STARTING: Verdict.JOIN,
        VmPhase.BOOTING: Verdict.ALREADY,
        VmPhase.RUNNING: Verdict.ALREADY,
        VmPhase.STOPPING: Verdict.REFUSE,
    },
    "stop": {
        VmPhase.STOPPED: Verdict.ALREADY,
        VmPhase.STARTING: Verdict.DO,
        VmPhase.BOOTING: Verdict.DO,
        VmPhase.RUNNING: Verdict.DO,
        VmPhase.STOPPING: Verdict.JOIN,
    },
    "delete": {
        VmPhase.STOPPED: Verdict.DO,
        VmPhase.STARTING: Verdict.REFUSE,
        VmPhase.BOOTING: Verdict.REFUSE,
        VmPhase.RUNNING: Verdict.REFUSE,
        VmPhase.STOPPING: Verdict.REFUSE,
    },
}
"""Which verb in which phase. A deleted VM is in no row: to every verb it is `no_such_vm`."""


def allowed_verbs(phase: VmPhase) -> tuple[Verb, ...]:
    """List the verbs that would change something or join in *phase*, for API, CLI and console to offer."""
    return tuple(verb for verb, row in VERB_TABLE.items() if row.get(phase) in {Verdict.DO, Verdict.JOIN})
