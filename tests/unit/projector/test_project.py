"""What each event makes of the rows."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import get_args
from uuid import UUID

import pytest

from events import subjects
from events.codec import decode, encode
from events.codes import Code
from events.commands import Command, CreateVm, DeleteVm, StartVm, StopVm
from events.envelope import Message, Origin, Sealed
from events.events import (
    ClaimReleased,
    ClaimTaken,
    CommandEnded,
    CommandJoined,
    Event,
    HostCapacityChanged,
    HostRegistered,
    HostReleased,
    HostReserved,
    Outcome,
    ReleaseCause,
    VmCreated,
    VmDeleted,
    VmDesired,
    VmPlaced,
    VmReleased,
    VmStopRequested,
)
from events.facts import (
    HostReported,
    StopCause,
    VmBooting,
    VmRunning,
    VmStartFailed,
    VmStarting,
    VmStopped,
    VmStopping,
)
from events.host import Host
from events.ids import CommandId, EventId, Generation, HostId, Seq, VmId
from events.values import Desired, DesiredVm, Placement, Resources, Versions, VmPhase, VmSpec
from events.views import OperationState, OperationView, Rows, StepView, VmView
from events.vm import Vm
from services.projector.core.project import fold, reads
from services.projector.core.reading import Seen

VM, HOST, OTHER_HOST = VmId(UUID(int=1)), HostId(UUID(int=7)), HostId(UUID(int=8))
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
    return Seen(Seq(seq), sealed.subject, envelope, decoded, {})


def subject_of(message: Message) -> str:
    match message:
        case HostReported():
            return subjects.host_fact(HOST)
        case VmStarting() | VmBooting() | VmRunning() | VmStopping() | VmStopped() | VmStartFailed():
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


def test_a_created_vm_is_stopped_and_nowhere() -> None:
    vm = given(VmCreated(vm=STOPPED)).vm
    assert (vm.name, vm.vcpus, vm.memory_mib, vm.image) == ("web", 2, 512, "debian")
    assert (vm.phase, vm.desired, vm.host_id, vm.generation) == (VmPhase.STOPPED, Desired.STOPPED, None, 0)
    assert vm.created_at == vm.changed_at == NOON + timedelta(seconds=1)


def test_a_vm_starts_runs_and_stops() -> None:
    story = given(VmCreated(vm=STOPPED)).when(placed())
    assert (story.vm.phase, story.vm.host_id, story.vm.generation) == (VmPhase.STARTING, HOST, 1)
    assert story.when(BOOTING).vm.phase is VmPhase.BOOTING
    assert story.when(RUNNING).vm.phase is VmPhase.RUNNING
    assert story.when(VmStopRequested(vm=stopping())).vm.phase is VmPhase.STOPPING
    assert story.when(STOPPING).vm.phase is VmPhase.STOPPING
    assert story.when(CRASHED).vm.phase is VmPhase.STOPPED
    gone = VmReleased(vm=released(), placement=FIRST, cause=ReleaseCause.STOPPED)
    vm = story.when(gone).vm
    assert (vm.phase, vm.host_id, vm.last_stop) == (VmPhase.STOPPED, None, "crashed")
    assert (vm.created_at, vm.changed_at) == (NOON + timedelta(seconds=1), NOON + timedelta(seconds=8))


def test_a_vm_that_shall_stop_is_stopping_whatever_runs() -> None:
    assert given(placed(), VmStopRequested(vm=stopping())).when(RUNNING).vm.phase is VmPhase.STOPPING


def test_a_wish_to_stop_what_has_stopped_leaves_it_stopped() -> None:
    assert given(placed(), CRASHED).when(VmStopRequested(vm=stopping())).vm.phase is VmPhase.STOPPED


@pytest.mark.parametrize("fact", [BOOTING, RUNNING, CRASHED])
def test_a_decision_that_changes_nothing_keeps_what_was_seen(fact: VmBooting | VmRunning | VmStopped) -> None:
    before = given(placed(), fact)
    phase = before.vm.phase
    ended = CommandEnded(command_id=START, outcome=Outcome.FAILED, code=Code.WRONG_PHASE, vm=running())
    after = before.when(ended, CommandJoined(command_id=STOP, vm=running())).vm
    assert (after.phase, after.ctl_seq, after.seq) == (phase, 4, 4)


def test_a_deleted_vm_keeps_its_row() -> None:
    gone = STOPPED.model_copy(update={"desired": Desired.ABSENT})
    vm = given(VmCreated(vm=STOPPED)).when(VmDeleted(vm=gone)).vm
    assert (vm.phase, vm.name) == (VmPhase.DELETED, "web")


@pytest.mark.parametrize(
    "late",
    [
        VmRunning(vm_id=VM, host_id=HOST, generation=Generation(1)),
        VmStopped(vm_id=VM, host_id=HOST, generation=Generation(1), cause=StopCause.LOST),
        VmRunning(vm_id=VM, host_id=HOST, generation=Generation(2)),
        VmRunning(vm_id=VM, host_id=OTHER_HOST, generation=Generation(3)),
    ],
)
def test_a_report_about_another_placement_is_too_late_to_matter(late: VmRunning | VmStopped) -> None:
    before = given(placed(FIRST), placed(SECOND))
    row = before.vm
    assert before.when(late).vm == row


def test_a_report_about_a_vm_that_nobody_knows_or_placed_changes_nothing() -> None:
    assert given(RUNNING).rows == Rows()
    story = given(VmCreated(vm=STOPPED))
    row = story.vm
    assert story.when(RUNNING).vm == row


def test_why_a_start_failed_is_told_until_the_next_placement() -> None:
    refused = VmStartFailed(vm_id=VM, host_id=HOST, generation=Generation(1), message="no such image")
    story = given(placed(), refused)
    assert (story.vm.phase, story.vm.last_stop) == (VmPhase.STOPPED, "no such image")
    story.when(VmReleased(vm=released(), placement=FIRST, cause=ReleaseCause.START_FAILED))
    assert story.vm.last_stop == "no such image"
    assert story.when(placed(SECOND)).vm.last_stop is None


@pytest.mark.parametrize("first", [0, 1])
def test_a_hosts_report_and_its_counts_meet_in_one_row(first: int) -> None:
    counted = HostReserved(host=host(ROOM, vms=1), vm_id=VM, resources=ROOM)
    told: list[Told] = [REPORT, counted]
    row = given(told[first], told[1 - first]).rows.hosts[HOST]
    assert (row.name, row.vcpus, row.memory_mib) == ("rack-1", 16, 4096)
    assert (row.allocated_vcpus, row.allocated_memory_mib, row.vms) == (2, 512, 1)
    assert (row.cores, row.physical_memory_mib, row.versions, row.boot_id) == (4, 8192, VERSIONS, "boot")
    assert row.reported_at == NOON + timedelta(seconds=1 + first)


def test_an_operation_is_pending_then_running_then_ended() -> None:
    story = given(By(START, StartVm(vm_id=VM)))
    pending = story.operation(START)
    assert (pending.verb, pending.vm_id, pending.state) == ("start", VM, OperationState.PENDING)
    assert (pending.requested_by, pending.accepted_at) == ("ann", NOON + timedelta(seconds=1))
    story.when(By(START, placed()))
    assert story.operation(START).state is OperationState.RUNNING
    story.when(By(START, CommandEnded(command_id=START, outcome=Outcome.SUCCEEDED, vm=running())))
    assert story.operation(START).state is OperationState.SUCCEEDED
    assert story.operation(START).ended_at == NOON + timedelta(seconds=3)
    assert [(step.seq, step.type) for step in story.steps] == [(2, "vm.placed"), (3, "command.ended")]


def test_an_end_names_the_operation_that_it_ends_whatever_caused_it() -> None:
    overtaken = CommandEnded(
        command_id=START, outcome=Outcome.FAILED, code=Code.SUPERSEDED, facts={"by": "op"}, vm=stopping()
    )
    story = given(By(START, StartVm(vm_id=VM)), By(STOP, StopVm(vm_id=VM)), By(STOP, overtaken))
    ended = story.operation(START)
    assert (ended.state, ended.code, ended.facts) == (OperationState.FAILED, Code.SUPERSEDED, {"by": "op"})
    assert story.operation(STOP).state is OperationState.RUNNING


def test_an_operation_on_a_vm_that_does_not_exist_ends() -> None:
    refused = CommandEnded(command_id=STOP, outcome=Outcome.FAILED, code=Code.NO_SUCH_VM)
    story = given(By(STOP, refused))
    assert (story.operation(STOP).state, story.operation(STOP).vm_id) == (OperationState.FAILED, VM)
    assert story.rows.vms == {}


def test_what_ended_stays_ended() -> None:
    done = CommandEnded(command_id=START, outcome=Outcome.SUCCEEDED, vm=running())
    failed = CommandEnded(command_id=START, outcome=Outcome.FAILED, code=Code.INTERNAL, vm=running())
    story = given(By(START, done)).when(By(START, placed()), By(START, failed))
    assert story.operation(START).state is OperationState.SUCCEEDED
    assert story.operation(START).code is None


def test_an_event_that_another_event_caused_is_no_step() -> None:
    one = seen(1, placed())
    caused = one.envelope.model_copy(update={"causationid": UUID(int=99)})
    story = Story()
    story.take([replace(one, envelope=caused)])
    assert (story.steps, dict(story.rows.operations)) == ([], {})


@pytest.mark.parametrize("fact", [BOOTING, CRASHED, REPORT])
def test_a_host_begins_and_extends_no_operation_whatever_cause_it_names(fact: Message) -> None:
    assert (given(By(START, fact)).steps, dict(given(By(START, fact)).rows.operations)) == ([], {})
    before = given(By(START, StartVm(vm_id=VM)))
    pending = before.operation(START)
    assert before.when(By(START, fact)).operation(START) == pending


OUTCOMES = [
    CommandEnded(command_id=START, outcome=Outcome.SUCCEEDED, vm=running()),
    CommandEnded(command_id=START, outcome=Outcome.FAILED, code=Code.NO_HOST_FITS, vm=STOPPED),
]


@pytest.mark.parametrize("end", OUTCOMES)
def test_commands_and_events_meet_in_any_order(end: CommandEnded) -> None:
    """Every way to merge the two streams, each in its own order, leads to the same rows and steps."""
    asked = [
        By(CREATE, CreateVm(vm_id=VM, spec=SPEC)),
        By(START, StartVm(vm_id=VM)),
        By(STOP, StopVm(vm_id=VM)),
    ]
    told: list[Told] = [
        By(CREATE, VmCreated(vm=STOPPED)),
        By(START, placed()),
        RUNNING,
        By(START, end),
        By(STOP, OUTCOMES[1]),
    ]
    commands = [seen(seq, one) for seq, one in enumerate(asked, 101)]
    facts = [seen(seq, one) for seq, one in enumerate(told, 1)]
    expected = Story()
    expected.take(commands + facts)
    length = len(commands) + len(facts)
    for places in combinations(range(length), len(commands)):
        first, second = iter(commands), iter(facts)
        story = Story()
        for place in range(length):
            story.take([next(first) if place in places else next(second)])
        assert (story.rows, story.steps) == (expected.rows, expected.steps), places


EVERY: list[Message] = [
    CreateVm(vm_id=VM, spec=SPEC),
    StartVm(vm_id=VM),
    StopVm(vm_id=VM),
    DeleteVm(vm_id=VM),
    VmCreated(vm=STOPPED),
    placed(),
    VmStopRequested(vm=stopping()),
    VmReleased(vm=released(), placement=FIRST, cause=ReleaseCause.STOPPED),
    VmDeleted(vm=STOPPED),
    CommandJoined(command_id=START, vm=running()),
    CommandEnded(command_id=START, outcome=Outcome.SUCCEEDED),
    HostRegistered(host=host()),
    HostCapacityChanged(host=host(), before=ROOM),
    HostReserved(host=host(), vm_id=VM, resources=ROOM),
    HostReleased(host=host(), vm_id=VM, resources=ROOM),
    VmDesired(entry=DesiredVm(vm_id=VM, generation=Generation(1), desired=Desired.RUNNING, spec=SPEC)),
    ClaimTaken(kind="vm-name", value="web", owner=VM),
    ClaimReleased(kind="vm-name", value="web", owner=VM),
    VmStarting(vm_id=VM, host_id=HOST, generation=Generation(1)),
    BOOTING,
    RUNNING,
    STOPPING,
    CRASHED,
    VmStartFailed(vm_id=VM, host_id=HOST, generation=Generation(1), message="no"),
    REPORT,
]


def test_every_type_of_the_language_is_here() -> None:
    types = {member for union in (Command, Event) for member in get_args(union)}
    assert {type(message) for message in EVERY} == types


@pytest.mark.parametrize("message", EVERY, ids=lambda message: message.TYPE)
def test_any_message_is_folded_over_anything(message: Message) -> None:
    """`fold` is total: over no rows, and over rows of another story."""
    for before in ([], [VmCreated(vm=STOPPED)], [placed(SECOND), REPORT], EVERY):
        given(*before).when(message, By(START, message))
