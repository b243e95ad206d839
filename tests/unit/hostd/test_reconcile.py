"""The next step about one VM, and that any steps from anywhere lead to what is desired."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.facts import (
    StopCause,
    VmBooting,
    VmFact,
    VmRunning,
    VmStartFailed,
    VmStarting,
    VmStopped,
    VmStopping,
)
from events.ids import Generation
from events.values import Desired
from services.hostd.core.reconcile import (
    ASK_AGAIN_S,
    AskShutdown,
    Domain,
    DomainState,
    Entry,
    Forget,
    Idle,
    PowerOff,
    ProbeAgent,
    Report,
    Start,
    Step,
    Undefine,
    Wait,
    fold,
    reconcile,
)
from tests.support.builders import HOST, NOON, VM, an_entry, booting, running, start_failed, stopped
from tests.unit.hostd.model import Machine

ACTIVE, OFF = DomainState.ACTIVE, DomainState.OFF
STARTING = VmStarting(vm_id=VM, host_id=HOST, generation=Generation(1))
STARTING_2 = VmStarting(vm_id=VM, host_id=HOST, generation=Generation(2))
STOPPING = VmStopping(vm_id=VM, host_id=HOST, generation=Generation(1))
SOON = NOON + timedelta(seconds=10)
RUN, STOP, GONE = an_entry(Desired.RUNNING), an_entry(Desired.STOPPED, grace_s=10), an_entry(Desired.ABSENT)


def domain(
    state: DomainState = ACTIVE,
    generation: int = 1,
    *,
    agent: bool = False,
    cause: StopCause = StopCause.GUEST,
) -> Domain:
    return Domain(VM, Generation(generation), state, agent, cause)


@pytest.mark.parametrize(
    ("entry", "seen", "step"),
    [
        (Entry(RUN), None, Report(STARTING)),
        (Entry(RUN, STARTING), None, Start()),
        (Entry(RUN, STARTING), domain(OFF, cause=StopCause.LOST), Start()),
        (Entry(RUN, STARTING), domain(OFF, cause=StopCause.CRASHED), Start()),
        (Entry(RUN, STARTING), domain(OFF), Report(stopped(cause=StopCause.GUEST))),
        (Entry(an_entry(generation=2), STARTING_2), domain(OFF), Start()),
        (Entry(RUN, STARTING), domain(), Report(booting())),
        (Entry(RUN, booting()), domain(), Idle()),
        (Entry(RUN, booting()), domain(agent=True), ProbeAgent()),
        (Entry(RUN, running()), domain(agent=True), Idle()),
        (Entry(RUN, running()), domain(OFF), Report(stopped(cause=StopCause.GUEST))),
        (Entry(RUN, running()), None, Report(stopped(cause=StopCause.LOST))),
        (Entry(RUN, stopped()), None, Idle()),
        (Entry(RUN, start_failed()), None, Idle()),
        (Entry(an_entry(generation=2)), domain(generation=1), PowerOff(forced=False)),
        (Entry(RUN), domain(generation=2), Idle()),
        (Entry(STOP, running(), SOON), domain(), Report(STOPPING)),
        (Entry(STOP, STOPPING, SOON), domain(), AskShutdown()),
        (Entry(STOP, STOPPING, SOON, NOON), domain(), Wait(ASK_AGAIN_S)),
        (Entry(STOP, STOPPING, SOON, NOON - timedelta(seconds=9)), domain(), AskShutdown()),
        (Entry(STOP, STOPPING, NOON), domain(), PowerOff(forced=True)),
        (Entry(STOP, STOPPING, SOON), domain(OFF), Report(stopped())),
        (Entry(STOP, STOPPING, SOON, forced=True), None, Report(stopped(cause=StopCause.FORCED))),
        (Entry(STOP), None, Report(stopped())),
        (Entry(STOP, stopped()), None, Idle()),
        (Entry(GONE), domain(), PowerOff(forced=False)),
        (Entry(GONE), domain(OFF), Undefine()),
        (Entry(GONE), None, Forget()),
    ],
)
def test_the_next_step(entry: Entry, seen: Domain | None, step: Step) -> None:
    assert reconcile(HOST, entry, seen, NOON) == step


KINDS = [None, VmStarting, VmBooting, VmRunning, VmStopping, VmStopped, VmStartFailed]


def reported(kind: type[VmFact] | None, generation: int) -> VmFact | None:
    told = {"vm_id": VM, "host_id": HOST, "generation": generation, "cause": "lost", "message": "no"}
    return kind.model_validate(told) if kind is not None else None


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    """Any desired entry over any domain after any report."""
    desired = an_entry(draw(st.sampled_from(Desired)), 2, draw(st.sampled_from([0.0, 1.0, 20.0])))
    stop_by = NOON + timedelta(seconds=desired.grace_s) if desired.desired is Desired.STOPPED else None
    asked_at: datetime | None = draw(st.sampled_from([None, NOON - timedelta(seconds=2), NOON]))
    entry = Entry(desired, reported(draw(st.sampled_from(KINDS)), 2), stop_by, asked_at, draw(st.booleans()))
    seen = None
    if draw(st.booleans()):
        seen = domain(
            draw(st.sampled_from(DomainState)), draw(st.sampled_from([1, 2])), agent=draw(st.booleans())
        )
    return Machine(entry, seen, obeys=draw(st.booleans()), boots=draw(st.booleans()))


@settings(max_examples=400, deadline=None, database=None)
@given(machines())
def test_from_anywhere_it_converges(machine: Machine) -> None:
    machine.settle()
    match machine.wanted:
        case Desired.ABSENT:
            assert machine.domain is None
        case Desired.STOPPED:
            assert not machine.active
            assert isinstance(machine.entry.reported, VmStopped | VmStartFailed)
        case Desired.RUNNING:
            ended = isinstance(machine.entry.reported, VmStopped | VmStartFailed)
            assert machine.active or ended
            assert machine.domain is None or not machine.active or machine.domain.generation == 2


@settings(max_examples=400, deadline=None, database=None)
@given(machines())
def test_nothing_starts_unless_it_shall_run_and_nothing_with_a_right_is_ended(machine: Machine) -> None:
    """Asserted inside the model, step by step."""
    machine.settle()
    if machine.wanted is not Desired.RUNNING:
        assert machine.starts == 0
    assert machine.starts <= 1


@settings(max_examples=200, deadline=None, database=None)
@given(machines(), st.integers(0, 12))
def test_an_entry_that_comes_in_the_middle_leads_to_its_own_end(machine: Machine, steps: int) -> None:
    machine.settle(most=steps)
    taken = fold(machine.entry, an_entry(Desired.ABSENT, 2), machine.now)
    assert taken is not None
    machine.entry = taken
    machine.settle()
    assert machine.domain is None


@pytest.mark.parametrize("desired", Desired)
def test_an_older_generation_is_refused(desired: Desired) -> None:
    assert fold(Entry(an_entry(generation=3)), an_entry(desired, generation=2), NOON) is None


def test_a_new_generation_begins_with_nothing_reported() -> None:
    before = Entry(STOP, stopped(), SOON, NOON, forced=True)
    assert fold(before, an_entry(generation=2), NOON) == Entry(an_entry(generation=2))


def test_a_shorter_grace_counts_from_when_it_was_read() -> None:
    before = Entry(STOP, STOPPING, SOON, NOON)
    sooner = an_entry(Desired.STOPPED, grace_s=1)
    assert fold(before, sooner, NOON) == replace(before, desired=sooner, stop_by=NOON + timedelta(seconds=1))
