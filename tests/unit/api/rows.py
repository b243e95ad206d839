"""The few rows that the stories need."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from events.ids import CommandId, Generation, HostId, VmId
from events.spec import VmSpec
from events.values import Desired, VmPhase
from events.views import HostView, LoggedEvent, OperationState, OperationView, VmView

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
VM = VmId(UUID("11111111-1111-4111-8111-111111111111"))
OTHER_VM = VmId(UUID("22222222-2222-4222-8222-222222222222"))
HOST = HostId(UUID("33333333-3333-4333-8333-333333333333"))
OPERATION = CommandId(UUID("44444444-4444-4444-8444-444444444444"))


def a_vm(vm_id: VmId = VM, name: str = "web-01", phase: VmPhase = VmPhase.STOPPED) -> VmView:
    runs = phase in {VmPhase.RUNNING, VmPhase.STOPPING}
    return VmView(
        vm_id=vm_id,
        name=name,
        vcpus=1,
        memory_mib=512,
        image="tiny",
        spec=VmSpec(name=name, vcpus=1, memory_mib=512, image="tiny"),
        desired=Desired.RUNNING if runs else Desired.STOPPED,
        phase=phase,
        host_id=HOST if runs else None,
        generation=Generation(1 if runs else 0),
        created_at=NOON,
        changed_at=NOON,
        ctl_seq=1,
        seq=1,
    )


def a_host(host_id: HostId = HOST, name: str = "host-1") -> HostView:
    return HostView(
        host_id=host_id,
        name=name,
        vcpus=8,
        memory_mib=4096,
        allocated_vcpus=1,
        allocated_memory_mib=512,
        vms=1,
        cores=2,
        physical_memory_mib=6144,
        reported_at=NOON,
        seq=3,
    )


def an_operation(
    operation_id: CommandId = OPERATION,
    state: OperationState = OperationState.RUNNING,
    verb: str = "start",
    vm_id: VmId = VM,
) -> OperationView:
    return OperationView(
        operation_id=operation_id,
        verb=verb,
        vm_id=vm_id,
        state=state,
        requested_by="admin",
        accepted_at=NOON,
        ended_at=NOON + timedelta(seconds=1) if state.ended else None,
        seq=7,
    )


def an_event(seq: int, vm_id: VmId | None = VM, type_: str = "vm.created") -> LoggedEvent:
    return LoggedEvent(
        seq=seq,
        subject=f"evt.vm.{vm_id}.ctl",
        event_id=UUID(int=seq),
        type=type_,
        time=NOON,
        actor="admin",
        causation_id=OPERATION,
        correlation_id=OPERATION,
        vm_id=vm_id,
        host_id=None,
        body={"specversion": "1.0"},
    )
