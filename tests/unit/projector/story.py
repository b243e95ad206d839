"""Rows that follow what is told, and the few messages that the stories are made of."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import get_args
from uuid import UUID

from events import subjects
from events.codec import decode, encode
from events.commands import Command
from events.envelope import Message, Origin, Sealed
from events.events import VmPlaced
from events.facts import HostReported, RunFact, StopCause, VmBooting, VmRunning, VmStopped, VmStopping
from events.host import Host
from events.ids import CommandId, EventId, Generation, HostId, Seq
from events.spec import VmSpec
from events.values import Desired, Placement, Resources, Versions
from events.views import OperationView, Rows, StepView, VmView
from events.vm import Vm
from services.projector.core.about import about, about_subject
from services.projector.core.project import fold, reads
from services.projector.core.reading import Seen
from tests.compat.make_samples import HOST, VM

OTHER_HOST = HostId(UUID(int=8))
CREATE, START, STOP = (CommandId(UUID(int=number)) for number in (11, 12, 13))
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SPEC = VmSpec(name="web", vcpus=2, memory_mib=512, image="debian")
ROOM = Resources(vcpus=2, memory_mib=512)
VERSIONS = Versions(roost="0.1.0", hypervisor="qemu", libvirt="9", qemu="7", kernel="6")

STOPPED = Vm(vm_id=VM, spec=SPEC, desired=Desired.STOPPED)
FIRST = Placement(host_id=HOST, generation=Generation(1))
SECOND = Placement(host_id=OTHER_HOST, generation=Generation(2))


def running(placement: Placement = FIRST) -> Vm:
    changes = {"desired": Desired.RUNNING, "placement": placement, "generation": placement.generation}
    return STOPPED.model_copy(update=changes)


def stopping(placement: Placement = FIRST) -> Vm:
    return running(placement).model_copy(update={"desired": Desired.STOPPED})


def released(placement: Placement = FIRST) -> Vm:
    return stopping(placement).model_copy(update={"placement": None})


def placed(placement: Placement = FIRST) -> VmPlaced:
    return VmPlaced(vm=running(placement), placement=placement, considered=2)


def host(allocated: Resources | None = None, vms: int = 0) -> Host:
    none = Resources(vcpus=0, memory_mib=0)
    return Host(
        host_id=HOST,
        name="rack-1",
        capacity=Resources(vcpus=16, memory_mib=4096),
        allocated=allocated or none,
        vms=vms,
    )


BOOTING = VmBooting(vm_id=VM, host_id=HOST, generation=Generation(1))
RUNNING = VmRunning(vm_id=VM, host_id=HOST, generation=Generation(1))
STOPPING = VmStopping(vm_id=VM, host_id=HOST, generation=Generation(1))
CRASHED = VmStopped(vm_id=VM, host_id=HOST, generation=Generation(1), cause=StopCause.CRASHED)
REPORT = HostReported(
    host_id=HOST, name="rack-1", cores=4, memory_mib=8192, versions=VERSIONS, boot_id="boot"
)


@dataclass(frozen=True)
class By:
    """A message that an operation led to."""

    operation: CommandId
    message: Message


Told = Message | By


def seen(seq: int, told: Told) -> Seen:
    """Send *told* through the wire, as the projector finds it."""
    message = told.message if isinstance(told, By) else told
    operation = told.operation if isinstance(told, By) else None
    sealed = Sealed(
        id=EventId(
            operation if isinstance(message, get_args(Command)) and operation else UUID(int=1000 + seq)
        ),
        subject=subject_of(message),
        time=NOON + timedelta(seconds=seq),
        origin=Origin(source="test", actor="ann", causation=operation, correlation=operation),
        message=message,
    )
    envelope, decoded = decode(encode(sealed))
    return Seen(
        Seq(seq), sealed.subject, envelope, decoded, {}, about_subject(sealed.subject), about(decoded)
    )


def subject_of(message: Message) -> str:
    match message:
        case HostReported():
            return subjects.host_fact(HOST)
        case RunFact():
            return subjects.vm_fact(message.vm_id, message.host_id)
        case _:
            return subjects.vm_ctl(VM)


@dataclass
class Story:
    """Rows that follow what is told, one event at a time."""

    rows: Rows = field(default_factory=Rows)
    steps: list[StepView] = field(default_factory=list)
    seq: int = 0

    def when(self, *told: Told) -> "Story":
        for one in told:
            self.seq += 1
            self.take([seen(self.seq, one)])
        return self

    def take(self, batch: Sequence[Seen]) -> None:
        wanted = reads(batch)
        known = Rows(
            vms={key: row for key, row in self.rows.vms.items() if key in wanted.vms},
            hosts={key: row for key, row in self.rows.hosts.items() if key in wanted.hosts},
            operations={key: row for key, row in self.rows.operations.items() if key in wanted.operations},
        )
        changed, steps = fold(known, batch)
        assert changed.vms.keys() <= wanted.vms
        assert changed.hosts.keys() <= wanted.hosts
        assert changed.operations.keys() <= wanted.operations
        self.rows = Rows(
            vms={**self.rows.vms, **changed.vms},
            hosts={**self.rows.hosts, **changed.hosts},
            operations={**self.rows.operations, **changed.operations},
        )
        self.steps.extend(steps)

    @property
    def vm(self) -> VmView:
        return self.rows.vms[VM]

    def operation(self, operation_id: CommandId) -> OperationView:
        return self.rows.operations[operation_id]


def given(*told: Told) -> Story:
    return Story().when(*told)
