"""What each event makes of the rows of hosts and operations, and that nothing upsets the fold."""

from dataclasses import replace
from datetime import timedelta
from itertools import combinations
from typing import get_args
from uuid import UUID

import pytest

from events.codes import Code
from events.commands import Command, CreateVm, StartVm, StopVm
from events.envelope import Message
from events.events import CommandEnded, Event, HostReserved, Outcome, VmCreated
from events.machine import MachineFacts
from events.values import Placement
from events.views import OperationState
from tests.compat.make_samples import GENERATION, HOST, VM, messages
from tests.unit.projector.story import (
    BOOTING,
    CRASHED,
    CREATE,
    NOON,
    REPORT,
    ROOM,
    RUNNING,
    SECOND,
    SPEC,
    START,
    STOP,
    STOPPED,
    VERSIONS,
    By,
    Story,
    Told,
    given,
    host,
    placed,
    running,
    seen,
    stopping,
)


@pytest.mark.parametrize("first", [0, 1])
def test_a_hosts_report_and_its_counts_meet_in_one_row(first: int) -> None:
    counted = HostReserved(host=host(ROOM, vms=1), vm_id=VM, resources=ROOM)
    told: list[Told] = [REPORT.model_copy(update={"machine": MachineFacts()}), counted]
    row = given(told[first], told[1 - first]).rows.hosts[HOST]
    assert (row.name, row.vcpus, row.memory_mib) == ("rack-1", 16, 4096)
    assert (row.allocated_vcpus, row.allocated_memory_mib, row.vms) == (2, 512, 1)
    assert (row.cores, row.physical_memory_mib, row.versions, row.boot_id) == (4, 8192, VERSIONS, "boot")
    assert (row.machine, row.reported_at) == (MachineFacts(), NOON + timedelta(seconds=1 + first))


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


EVERY: list[Message] = [message for _, message in messages()]
"""One of each type, all about the same VM, host and generation."""

IN_PLACE = placed(Placement(host_id=HOST, generation=GENERATION))


def test_every_type_of_the_language_is_here() -> None:
    types = {member for union in (Command, Event) for member in get_args(union)}
    assert {type(message) for message in EVERY} == types


@pytest.mark.parametrize("message", EVERY, ids=lambda message: message.TYPE)
def test_any_message_is_folded_over_anything(message: Message) -> None:
    """`fold` is total: over no rows, and over rows of another story."""
    for before in ([], [VmCreated(vm=STOPPED)], [placed(SECOND), REPORT], [IN_PLACE], EVERY):
        given(*before).when(message, By(START, message))
