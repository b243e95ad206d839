"""Fold events into rows.

The rows of VMs, hosts and steps follow EVT alone. Those of operations follow EVT and CMD, which are read
apart from each other: a command says who asked for what and when, the events say how far it is, and
whichever comes first leaves to the other what is the other's.
"""

from collections import ChainMap
from collections.abc import Iterable, Sequence
from typing import assert_never

from events.commands import Command
from events.events import (
    ClaimReleased,
    ClaimTaken,
    CommandEnded,
    CommandJoined,
    GroupJoined,
    HostCapacityChanged,
    HostRegistered,
    HostReleased,
    HostReserved,
    VmActionRequested,
    VmCreated,
    VmDeleted,
    VmDesired,
    VmLiveUpdated,
    VmPlaced,
    VmReleased,
    VmStopRequested,
    VmUpdated,
)
from events.facts import HostReported, RunFact, VmFact
from events.host import Host
from events.ids import CommandId, HostId, VmId
from events.subjects import parse_event
from events.views import HostView, Keys, OperationState, OperationView, Rows, StepView, VmView
from events.vm import Vm
from services.projector.core.reading import Seen
from services.projector.core.vms import decided, reported


def reads(batch: Iterable[Seen]) -> Keys:
    """Tell which rows the events of *batch* may change."""
    vms, hosts, operations = set(), set(), set()
    for seen in batch:
        vms.add(seen.said.vm_id)
        hosts.add(seen.said.host_id)
        operations |= {_operation(seen), _ended(seen)}
    return Keys(
        vms=frozenset(vm_id for vm_id in vms if vm_id is not None),
        hosts=frozenset(host_id for host_id in hosts if host_id is not None),
        operations=frozenset(one for one in operations if one is not None),
    )


def fold(rows: Rows, batch: Iterable[Seen]) -> tuple[Rows, Sequence[StepView]]:
    """Fold *batch* over the *rows* that it reads; give those that changed, and the steps to add."""
    vms = ChainMap[VmId, VmView]({}, dict(rows.vms))
    hosts = ChainMap({}, dict(rows.hosts))
    operations = ChainMap({}, dict(rows.operations))
    steps = []
    for seen in batch:
        changed = project(Rows(vms, hosts, operations), seen)
        vms.update(changed.vms)
        hosts.update(changed.hosts)
        operations.update(changed.operations)
        steps += _steps(seen)
    return Rows(vms.maps[0], hosts.maps[0], operations.maps[0]), steps


def project(rows: Rows, seen: Seen) -> Rows:
    """Say which of *rows* one event changes, and to what."""
    message = seen.message
    if isinstance(message, Command):
        return Rows(operations=_accepted(rows, seen, message))
    match message:
        case (
            VmCreated()
            | VmPlaced()
            | VmStopRequested()
            | VmActionRequested()
            | VmUpdated()
            | VmLiveUpdated()
            | VmReleased()
            | VmDeleted()
            | CommandJoined()
        ):
            return Rows(vms=_decided(rows, seen, message.vm), operations=_led_to(rows, seen))
        case CommandEnded():
            vms = _decided(rows, seen, message.vm) if message.vm is not None else {}
            return Rows(vms=vms, operations=_end(rows, seen, message))
        case RunFact():
            return Rows(vms=_reported(rows, seen, message), operations=_led_to(rows, seen))
        case HostRegistered() | HostCapacityChanged() | HostReserved() | HostReleased():
            return Rows(hosts=_counted(rows, seen, message.host), operations=_led_to(rows, seen))
        case HostReported():
            return Rows(hosts=_host_reported(rows, seen, message))
        case VmDesired() | ClaimTaken() | ClaimReleased() | GroupJoined():
            return Rows(operations=_led_to(rows, seen))
        case _:
            assert_never(message)


def _decided(rows: Rows, seen: Seen, vm: Vm) -> dict[VmId, VmView]:
    return {vm.vm_id: decided(rows.vms.get(vm.vm_id), seen, vm)}


def _reported(rows: Rows, seen: Seen, fact: VmFact) -> dict[VmId, VmView]:
    row = reported(rows.vms.get(fact.vm_id), seen, fact)
    return {} if row is None else {fact.vm_id: row}


def _counted(rows: Rows, seen: Seen, host: Host) -> dict[HostId, HostView]:
    """Follow what the control plane promises on a host."""
    before = rows.hosts.get(host.host_id) or HostView(host_id=host.host_id, name=host.name, seq=seen.seq)
    changes = {
        "name": host.name,
        "vcpus": host.capacity.vcpus,
        "memory_mib": host.capacity.memory_mib,
        "allocated_vcpus": host.allocated.vcpus,
        "allocated_memory_mib": host.allocated.memory_mib,
        "vms": host.vms,
        "seq": seen.seq,
    }
    return {host.host_id: before.model_copy(update=changes)}


def _host_reported(rows: Rows, seen: Seen, report: HostReported) -> dict[HostId, HostView]:
    """Follow what a host is."""
    before = rows.hosts.get(report.host_id)
    view = before or HostView(host_id=report.host_id, name=report.name, seq=seen.seq)
    changes = {
        "name": report.name,
        "cores": report.cores,
        "physical_memory_mib": report.memory_mib,
        "versions": report.versions,
        "boot_id": report.boot_id,
        "machine": report.machine,
        "reported_at": seen.envelope.time,
        "seq": seen.seq,
    }
    return {report.host_id: view.model_copy(update=changes)}


def _accepted(rows: Rows, seen: Seen, command: Command) -> dict[CommandId, OperationView]:
    """Note who asked for what, and leave how far it is as the events have it."""
    operation_id = CommandId(seen.envelope.id)
    before = rows.operations.get(operation_id) or _unknown(operation_id, command.vm_id)
    said = {
        "verb": command.VERB,
        "vm_id": command.vm_id,
        "requested_by": seen.envelope.actor,
        "accepted_at": seen.envelope.time,
    }
    return {operation_id: before.model_copy(update=said)}


def _led_to(rows: Rows, seen: Seen) -> dict[CommandId, OperationView]:
    """Note that an operation is under way; one that has ended stays so."""
    operation_id, vm_id = _operation(seen), _target(seen)
    if operation_id is None or vm_id is None:
        return {}
    before = rows.operations.get(operation_id) or _unknown(operation_id, vm_id)
    state = before.state if before.state.ended else OperationState.RUNNING
    return {operation_id: before.model_copy(update={"state": state, "seq": seen.seq})}


def _end(rows: Rows, seen: Seen, ended: CommandEnded) -> dict[CommandId, OperationView]:
    """End the operation that *ended* names, whatever led to that; the first end counts."""
    cause = _led_to(rows, seen)
    vm_id = _target(seen)
    assert vm_id is not None, "an end lies on its VM's subject, or it would not have been read"
    before = rows.operations.get(ended.command_id) or _unknown(ended.command_id, vm_id)
    if before.state.ended:
        return cause
    changes = {
        "state": OperationState(ended.outcome.value),
        "ended_at": seen.envelope.time,
        "code": ended.code,
        "facts": ended.facts,
        "seq": seen.seq,
    }
    return cause | {ended.command_id: before.model_copy(update=changes)}


def _unknown(operation_id: CommandId, vm_id: VmId) -> OperationView:
    """Begin a row for a command that was not read yet: who asked for what is in the command alone."""
    return OperationView(
        operation_id=operation_id,
        verb="",
        vm_id=vm_id,
        state=OperationState.PENDING,
        requested_by="",
    )


def _steps(seen: Seen) -> list[StepView]:
    operation_id = _operation(seen)
    if operation_id is None or _target(seen) is None or isinstance(seen.message, Command):
        return []
    return [
        StepView(
            operation_id=operation_id,
            seq=seen.seq,
            type=seen.envelope.type,
            subject=seen.subject,
            time=seen.envelope.time,
        )
    ]


def _operation(seen: Seen) -> CommandId | None:
    """Name the operation that a message belongs to: a command's own, or the one that led to an event.

    That is the event's cause where it is also what the event belongs to; a cause alone may be another event.
    Only what the control plane wrote belongs to one: a host may write any cause into its facts.
    """
    if isinstance(seen.message, Command):
        return CommandId(seen.envelope.id)
    if parse_event(seen.subject).host_id is not None:
        return None
    cause = seen.envelope.causationid
    return CommandId(cause) if cause is not None and cause == seen.envelope.correlationid else None


def _ended(seen: Seen) -> CommandId | None:
    return seen.message.command_id if isinstance(seen.message, CommandEnded) else None


def _target(seen: Seen) -> VmId | None:
    """Name the VM that an operation is about; every operation is about one."""
    return seen.said.vm_id or seen.where.vm_id
