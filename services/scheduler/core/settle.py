"""Decide what follows from the hosts' facts: commands end, placements end, hosts join."""

from typing import Any

from events import subjects
from events.codes import Code
from events.events import (
    CommandEnded,
    HostCapacityChanged,
    HostRegistered,
    HostReleased,
    Outcome,
    ReleaseCause,
    VmDesired,
    VmReleased,
)
from events.facts import HostReported, VmBooting, VmRunning, VmStartFailed, VmStopped
from events.host import Host
from events.values import Desired, DesiredVm, Resources
from events.vm import PendingCommand, Vm, is_current
from services.scheduler.core.decision import NOTHING, Change, Decision, Known, Scene


def settle(scene: Scene) -> Decision:
    """Say what the last fact about a VM leads to; NOTHING when it is too late or led there before."""
    vm, fact = scene.vm.value, scene.fact
    if vm is None or fact is None or not is_current(vm, fact):
        return NOTHING
    match fact:
        case VmBooting() | VmRunning():
            return _started(vm, scene)
        case VmStopped() | VmStartFailed():
            return _released(vm, fact, scene)
        case _:
            return NOTHING  # Starting and stopping are on the way; nothing follows from them yet.


def _started(vm: Vm, scene: Scene) -> Decision:
    starts = [pending for pending in vm.pending if pending.verb == "start"]
    if not starts:
        return NOTHING
    rest = tuple(pending for pending in vm.pending if pending.verb != "start")
    after = vm.model_copy(update={"pending": rest})
    ctl = subjects.vm_ctl(vm.vm_id)
    ends = tuple(_ended(pending, after, Outcome.SUCCEEDED, None, {}) for pending in starts)
    return Decision(tuple(Change(ctl, end, end.command_id) for end in ends), {ctl: scene.vm.seq})


def _released(vm: Vm, fact: VmStopped | VmStartFailed, scene: Scene) -> Decision:
    assert vm.placement is not None, "a current fact speaks of a placement"
    view = scene.hosts.get(vm.placement.host_id)
    if view is None:
        return NOTHING  # Its host's last event cannot be read: nothing is decided on that.
    needs = vm.spec.resources
    after = vm.model_copy(
        update={"desired": Desired.STOPPED, "placement": None, "grace_s": 0.0, "pending": ()}
    )
    host = view.host.model_copy(
        update={"allocated": view.host.allocated.minus(needs), "vms": view.host.vms - 1}
    )
    operation = vm.pending[0].command_id if vm.pending else None
    cause = ReleaseCause.STOPPED if isinstance(fact, VmStopped) else ReleaseCause.START_FAILED
    gone = DesiredVm(vm_id=vm.vm_id, generation=vm.placement.generation, desired=Desired.ABSENT, spec=vm.spec)
    ctl, host_ctl = subjects.vm_ctl(vm.vm_id), subjects.host_ctl(host.host_id)
    ends = tuple(_end_of(pending, after, fact, host) for pending in vm.pending)
    return Decision(
        (
            Change(ctl, VmReleased(vm=after, placement=vm.placement, cause=cause), operation),
            Change(host_ctl, HostReleased(host=host, vm_id=vm.vm_id, resources=needs), operation),
            Change(subjects.host_desired(host.host_id), VmDesired(entry=gone), operation),
            *(Change(ctl, end, end.command_id) for end in ends),
        ),
        {ctl: scene.vm.seq, host_ctl: view.seq},
    )


def _end_of(pending: PendingCommand, after: Vm, fact: VmStopped | VmStartFailed, host: Host) -> CommandEnded:
    if pending.verb == "stop":
        return _ended(pending, after, Outcome.SUCCEEDED, None, {})
    if isinstance(fact, VmStartFailed):
        facts = {"host": host.name, "message": fact.message}
        return _ended(pending, after, Outcome.FAILED, Code.HYPERVISOR_REFUSED, facts)
    facts = {"host": host.name, "cause": fact.cause}
    return _ended(pending, after, Outcome.FAILED, Code.GUEST_STOPPED, facts)


def _ended(
    pending: PendingCommand, vm: Vm, outcome: Outcome, code: Code | None, facts: dict[str, Any]
) -> CommandEnded:
    return CommandEnded(command_id=pending.command_id, outcome=outcome, code=code, facts=facts, vm=vm)


def enlist(report: HostReported, known: Known[Host], capacity: Resources) -> Decision:
    """Say what a host's report about itself leads to: it joins, or has more or less to give."""
    host, ctl = known.value, subjects.host_ctl(report.host_id)
    guards = {ctl: known.seq}
    if host is None:
        joined = Host(host_id=report.host_id, name=report.name, capacity=capacity)
        return Decision((Change(ctl, HostRegistered(host=joined), None),), guards)
    if (host.capacity, host.name) == (capacity, report.name):
        return NOTHING
    changed = host.model_copy(update={"capacity": capacity, "name": report.name})
    return Decision((Change(ctl, HostCapacityChanged(host=changed, before=host.capacity), None),), guards)


def capacity_of(report: HostReported, vcpus_per_core: float, reserve_mib: int) -> Resources:
    """Say what a host may give: cores by the over-commit ratio, memory less the host's own reserve."""
    return Resources(
        vcpus=int(report.cores * vcpus_per_core), memory_mib=max(0, report.memory_mib - reserve_mib)
    )
