"""Turn rows into bodies."""

from collections.abc import Mapping, Sequence
from typing import Any

from events.codes import Code, detail
from events.commands import UpdateVm
from events.ids import HostId
from events.spec import changed_fields
from events.values import Resources
from events.views import HostView, LoggedEvent, OperationState, OperationView, StepView, VmView
from events.vm import allowed_verbs
from services.api.core import ids
from services.api.core.bodies import (
    Amount,
    EventBody,
    EventPage,
    HostBody,
    HostName,
    HostState,
    OperationBody,
    OperationDetail,
    PlacementBody,
    SpecBody,
    StepBody,
    Target,
    VmBody,
    VmDetail,
)
from services.api.core.problems import body_of

_SAME = VmBody.model_fields.keys() & VmView.model_fields.keys()
"""What a VM's row and its body both call by the same name."""

SILENT_AFTER_S = 6.0
"""Without a heartbeat for this long a host shows as silent. Hosts send one each second."""


def vm_body(vm: VmView, hosts: Mapping[HostId, str]) -> VmBody:
    """Show *vm*; *hosts* gives the names, and a host that is not in it goes by its id."""
    return VmBody(**_shown(vm, hosts))


def vm_detail(vm: VmView, hosts: Mapping[HostId, str]) -> VmDetail:
    """Show *vm* with what its host has told of its run."""
    return VmDetail(**_shown(vm, hosts), effective=vm.effective, last_failure=vm.last_failure)


def host_body(host: HostView, *, heartbeat_age_s: float | None, listened_s: float) -> HostBody:
    """Show *host*, last heard *heartbeat_age_s* ago by a process that has listened for *listened_s*."""
    capacity = Resources(vcpus=host.vcpus, memory_mib=host.memory_mib)
    allocated = Resources(vcpus=host.allocated_vcpus, memory_mib=host.allocated_memory_mib)
    free = Resources(
        vcpus=max(0, capacity.vcpus - allocated.vcpus),
        memory_mib=max(0, capacity.memory_mib - allocated.memory_mib),
    )
    return HostBody(
        id=ids.show_host(host.host_id),
        name=host.name,
        state=_host_state(heartbeat_age_s, listened_s),
        last_heartbeat_age_s=None if heartbeat_age_s is None else round(heartbeat_age_s, 3),
        capacity=_amount(capacity),
        allocated=_amount(allocated),
        free=_amount(free),
        vms=host.vms,
        cores=host.cores,
        physical_memory_mib=host.physical_memory_mib,
        versions=host.versions,
        machine=host.machine,
        reported_at=host.reported_at,
    )


def operation_body(operation: OperationView) -> OperationBody:
    """Show *operation* without its steps."""
    failed = operation.state is OperationState.FAILED
    return OperationBody(
        id=ids.show_operation(operation.operation_id),
        verb=operation.verb,
        target=Target(id=ids.show_vm(operation.vm_id)),
        state=operation.state,
        requested_by=operation.requested_by,
        accepted_at=operation.accepted_at,
        ended_at=operation.ended_at,
        seq=operation.seq,
        note=_note(operation),
        error=body_of(operation.code or Code.INTERNAL, operation.facts) if failed else None,
    )


def operation_detail(operation: OperationView, steps: Sequence[StepView]) -> OperationDetail:
    """Show *operation* with its *steps*."""
    shown = [StepBody(seq=one.seq, type=one.type, subject=one.subject, time=one.time) for one in steps]
    return OperationDetail(**dict(operation_body(operation)), steps=shown)


def _note(operation: OperationView) -> str | None:
    """Say that a success changed nothing; an update tells in its facts what it has changed."""
    if operation.state is not OperationState.SUCCEEDED:
        return None
    if operation.verb == UpdateVm.VERB and operation.facts.get("changed") == []:
        return "the VM is as it was asked to be already"
    return detail(Code.ALREADY_SO, operation.facts) if operation.code is Code.ALREADY_SO else None


def event_body(event: LoggedEvent) -> EventBody:
    """Show one event of the log."""
    return EventBody(
        seq=event.seq,
        subject=event.subject,
        id=event.event_id,
        type=event.type,
        time=event.time,
        actor=event.actor,
        causation=event.causation_id,
        correlation=event.correlation_id,
        vm=None if event.vm_id is None else ids.show_vm(event.vm_id),
        host=None if event.host_id is None else ids.show_host(event.host_id),
        event=event.body,
    )


def event_page(events: Sequence[LoggedEvent], after: int) -> EventPage:
    """Show *events*, which follow *after*."""
    return EventPage(
        items=[event_body(event) for event in events], next_after=events[-1].seq if events else after
    )


def _shown(vm: VmView, hosts: Mapping[HostId, str]) -> dict[str, Any]:
    host = None
    if vm.host_id is not None:
        shown = ids.show_host(vm.host_id)
        host = HostName(id=shown, name=hosts.get(vm.host_id, shown))
    return {
        **{name: getattr(vm, name) for name in _SAME},
        "id": ids.show_vm(vm.vm_id),
        "spec": SpecBody(**dict(vm.spec) | {"placement": PlacementBody(**dict(vm.spec.placement))}),
        "host": host,
        "allowed_verbs": list(allowed_verbs(vm.phase)),
        "pending_changes": list(changed_fields(vm.running, vm.spec)) if vm.running is not None else [],
    }


def _host_state(heartbeat_age_s: float | None, listened_s: float) -> HostState:
    if heartbeat_age_s is None:
        return "unknown" if listened_s < SILENT_AFTER_S else "silent"
    return "up" if heartbeat_age_s <= SILENT_AFTER_S else "silent"


def _amount(resources: Resources) -> Amount:
    return Amount(vcpus=resources.vcpus, memory_mib=resources.memory_mib)
