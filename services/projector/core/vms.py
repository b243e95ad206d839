"""What an event means for the row of a VM."""

from datetime import datetime
from typing import Any

from events.effective import Effective
from events.events import VmLiveUpdated, VmPlaced
from events.facts import (
    VmAgentConnected,
    VmAgentGone,
    VmBooting,
    VmFact,
    VmNotResponding,
    VmPaused,
    VmResponding,
    VmRunning,
    VmStartFailed,
    VmStarting,
    VmStopped,
)
from events.spec import VmSpec
from events.values import Desired, Placement, VmPhase
from events.views import LastFailure, VmView
from events.vm import Vm, is_current, phase_of
from services.projector.core.reading import Seen

_NOT_RUN_YET: dict[str, Any] = {"last_stop": None, "last_failure": None, "effective": None}
"""What a new placement begins with; until then the columns tell of the last one."""


def decided(before: VmView | None, seen: Seen, vm: Vm) -> VmView:
    """Follow the whole state that the control plane has written."""
    row = before or _unseen(seen.envelope.time, vm)
    phase = _phase(vm, before)
    goes_on = _vm_of(row).placement == vm.placement
    changes = {
        "name": vm.spec.name,
        "vcpus": vm.spec.vcpus,
        "memory_mib": vm.spec.memory_mib,
        "image": vm.spec.image,
        "desired": vm.desired,
        "phase": phase,
        "host_id": vm.placement.host_id if vm.placement is not None else None,
        "generation": vm.generation,
        "spec": vm.spec,
        "running": vm.running,
        "pause_cause": row.pause_cause if phase is VmPhase.PAUSED else None,
        "responding": row.responding or not goes_on,
        "agent": row.agent and goes_on,
        "changed_at": seen.envelope.time,
        "ctl_seq": seen.seq,
        "seq": seen.seq,
    }
    match seen.message:
        case VmPlaced():
            changes |= _NOT_RUN_YET
        case VmLiveUpdated():
            changes["effective"] = _resized(row.effective, vm.running)
    return row.model_copy(update=changes)


def reported(before: VmView | None, seen: Seen, fact: VmFact) -> VmView | None:
    """Follow what the placed host has seen in this generation; anybody else's report is too late: None."""
    if before is None or not is_current(_vm_of(before), fact):
        return None
    phase = phase_of(_vm_of(before), fact)
    changes: dict[str, Any] = {
        "phase": phase,
        "pause_cause": _pause_cause(before, fact) if phase is VmPhase.PAUSED else None,
        "responding": _responding(fact),
        "agent": _agent(before, fact),
        "changed_at": seen.envelope.time,
        "seq": seen.seq,
    }
    match fact:
        case VmBooting():
            changes["effective"] = fact.effective or before.effective
        case VmStopped():
            changes["last_stop"] = fact.cause.value
        case VmStartFailed():
            changes["last_stop"] = fact.message
            changes["last_failure"] = LastFailure(
                message=fact.message, failures=fact.failures, log_tail=fact.log_tail
            )
    return before.model_copy(update=changes)


def _unseen(time: datetime, vm: Vm) -> VmView:
    """Begin the row of a VM that was not heard of before."""
    return VmView(
        vm_id=vm.vm_id,
        name=vm.spec.name,
        vcpus=vm.spec.vcpus,
        memory_mib=vm.spec.memory_mib,
        image=vm.spec.image,
        desired=vm.desired,
        phase=VmPhase.STOPPED,
        spec=vm.spec,
        created_at=time,
        changed_at=time,
        ctl_seq=0,
        seq=0,
    )


def _phase(vm: Vm, before: VmView | None) -> VmPhase:
    """Tell the phase after a decision, which knows nothing of what the host has reported: the row does."""
    unseen = phase_of(vm, None)
    if before is None or vm.placement is None or _vm_of(before).placement != vm.placement:
        return unseen
    if unseen is VmPhase.DELETED:
        return unseen
    # The same placement: the last report still holds, and only a wish to stop changes what it means.
    if before.phase is VmPhase.STOPPED or vm.desired is not Desired.STOPPED:
        return before.phase
    return unseen


def _pause_cause(before: VmView, fact: VmFact) -> object:
    return fact.cause if isinstance(fact, VmPaused) else before.pause_cause


def _responding(fact: VmFact) -> bool:
    match fact:
        case VmNotResponding():
            return False
        case VmResponding():
            return True
        case _:
            return fact.responding


def _agent(before: VmView, fact: VmFact) -> bool:
    match fact:
        case VmRunning():
            return fact.agent
        case VmAgentConnected():
            return True
        case VmAgentGone() | VmStarting() | VmBooting() | VmStopped() | VmStartFailed():
            return False
        case _:
            return before.agent


def _resized(effective: Effective | None, running: VmSpec | None) -> Effective | None:
    """Follow what was plugged into a running VM; no host reads its domain back for that."""
    if effective is None or running is None:
        return effective
    return effective.model_copy(update={"vcpus": running.vcpus, "memory_mib": running.memory_mib})


def _vm_of(row: VmView) -> Vm:
    """Give the VM of *row*, as far as its phase and what is current depend on it."""
    placed = row.host_id is not None
    return Vm(
        vm_id=row.vm_id,
        spec=row.spec,
        desired=row.desired,
        generation=row.generation,
        placement=Placement(host_id=row.host_id, generation=row.generation) if placed else None,
    )
