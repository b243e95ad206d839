"""From anything that is known and anything that is seen, any steps lead to what is desired, and then none.

What a step may never do is asserted inside the model, step by step.
"""

from dataclasses import replace
from datetime import timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from events.desired import ActionVerb, DesiredVm, Done
from events.facts import (
    PauseCause,
    StopCause,
    VmBooting,
    VmFact,
    VmNotResponding,
    VmPaused,
    VmRebooted,
    VmRunning,
    VmStartFailed,
    VmStarting,
    VmStopped,
    VmStopping,
)
from events.ids import Generation
from events.spec import ErrorPolicy
from events.values import Desired, VmPhase
from services.hostd.core.domain import Domain, DomainState
from services.hostd.core.entry import Begun, Entry, Run, fold
from tests.support.builders import HOST, NOON, VM, an_action, an_entry, command_id
from tests.unit.hostd.model import Machine

KINDS: list[type[VmFact] | None] = [
    None,
    VmStarting,
    VmBooting,
    VmRunning,
    VmPaused,
    VmRebooted,
    VmNotResponding,
    VmStopping,
    VmStopped,
    VmStartFailed,
]
ALIVE = [VmPhase.STARTING, VmPhase.BOOTING, VmPhase.RUNNING, VmPhase.PAUSED, VmPhase.STOPPING]
STAYS_PAUSED = {PauseCause.WATCHDOG, PauseCause.CRASHED, PauseCause.MIGRATION}
NUMBERS = range(1, 5)
TIMES = st.one_of(st.none(), st.integers(0, 100).map(lambda ago: NOON - timedelta(seconds=ago)))
THOROUGH = settings(
    max_examples=500, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)


@st.composite
def entries(draw: st.DrawFn, generation: int = 2, first: int = 1) -> DesiredVm:
    """Any entry; its actions are numbered from *first*."""
    desired = an_entry(draw(st.sampled_from(Desired)), generation, draw(st.sampled_from([0.0, 1.0, 20.0])))
    grace_s = draw(st.sampled_from([0.0, 5.0, 40.0]))
    verbs = draw(st.lists(st.sampled_from(ActionVerb), max_size=3))
    policy = draw(st.sampled_from(ErrorPolicy))
    return desired.model_copy(
        update={
            "spec": desired.spec.model_copy(update={"on_io_error": policy}),
            "actions": tuple(an_action(first + at, verb, grace_s) for at, verb in enumerate(verbs)),
            "remove_disks": draw(st.booleans()),
        }
    )


@st.composite
def runs(draw: st.DrawFn, desired: DesiredVm) -> Run:
    """Anything that may have been kept of a run, whether it fits together or not."""
    done = draw(st.sets(st.sampled_from([action.token for action in desired.actions] or [command_id(99)])))
    begun = None
    if draw(st.booleans()):
        at = NOON - timedelta(seconds=draw(st.integers(0, 50)))
        number = draw(st.sampled_from(NUMBERS))
        begun = Begun(token=command_id(number), at=at, asked_at=at, seen=draw(st.booleans()))
    return Run(
        done=tuple(Done(token=token) for token in sorted(done)),
        responding=draw(st.booleans()),
        booted_at=draw(TIMES),
        up=draw(st.booleans()),
        agent=draw(st.booleans()),
        begun=begun,
        paused=draw(st.sampled_from([None, *PauseCause])),
        paused_at=draw(TIMES),
        resumed_at=draw(TIMES),
        resumes=draw(st.sampled_from([0, 1, 7, 5000])),
    )


def reported(kind: type[VmFact] | None, phase: VmPhase, run: Run) -> VmFact | None:
    told = {"vm_id": VM, "host_id": HOST, "generation": 2, "message": "no", "phase": phase, "call": "x"}
    told |= {"done": run.done, "cause": "user" if kind is VmPaused else "lost"}
    return kind.model_validate(told) if kind is not None else None


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    """Any entry over any domain after any report."""
    desired = draw(entries())
    run = draw(runs(desired))
    stop_by = NOON + timedelta(seconds=desired.grace_s) if desired.desired is Desired.STOPPED else None
    fact = reported(draw(st.sampled_from(KINDS)), draw(st.sampled_from(ALIVE)), run)
    entry = Entry(desired, fact, stop_by, draw(TIMES), draw(st.booleans()), run)
    seen = None
    if draw(st.booleans()):
        state = draw(st.sampled_from(DomainState))
        seen = Domain(
            VM,
            Generation(draw(st.sampled_from([1, 2, 2, 2, 3]))),
            state,
            agent=draw(st.booleans()),
            cause=draw(st.sampled_from(StopCause)),
            paused=draw(st.sampled_from([None, *PauseCause])) if state is DomainState.ACTIVE else None,
            defined=draw(st.booleans()),
        )
    return Machine(
        entry, seen, obeys=draw(st.booleans()), boots=draw(st.booleans()), errors=draw(st.integers(0, 3))
    )


def check(machine: Machine) -> None:
    """See that what is there is what the entry wants, or that its end was said."""
    entry, domain = machine.entry, machine.domain
    assert all(times == 1 for times in machine.finished.values()), "said to be done more than once"
    assert all(times <= 1 for times in machine.acted.values()), "done more than once"
    if domain is not None and domain.generation > entry.desired.generation:
        return  # Not this entry's to touch.
    match machine.wanted:
        case Desired.ABSENT:
            assert domain is None
        case Desired.STOPPED:
            assert not machine.active
            assert entry.is_over
        case Desired.RUNNING | Desired.PAUSED:
            if entry.is_over:
                return
            assert domain is not None
            assert machine.active
            assert domain.generation == entry.desired.generation
            assert entry.action is None, "an action was left"
            assert entry.run.responding
            assert (entry.phase is VmPhase.PAUSED) == (domain.paused is not None)
            if machine.wanted is Desired.PAUSED:
                assert domain.paused is not None
            elif entry.desired.spec.on_io_error is not ErrorPolicy.LEAVE_PAUSED:
                assert domain.paused is None or domain.paused in STAYS_PAUSED
            else:
                assert domain.paused is not PauseCause.USER
            if domain.paused is None:
                assert entry.phase in {VmPhase.RUNNING}


@THOROUGH
@given(machines())
def test_from_anywhere_it_converges(machine: Machine) -> None:
    had = {one.token for one in machine.entry.run.done}
    machine.settle()
    check(machine)
    assert not had & machine.finished.keys(), "done before, and again"
    if machine.wanted not in {Desired.RUNNING, Desired.PAUSED}:
        assert machine.starts == 0
    assert machine.starts <= 1


@THOROUGH
@given(machines())
def test_where_nothing_is_left_to_do_nothing_is_done(machine: Machine) -> None:
    machine.settle()
    before = replace(machine, said=list(machine.said))
    machine.settle(most=1)
    assert machine.said == before.said or machine.wanted is Desired.ABSENT
    assert machine.domain == before.domain


@THOROUGH
@given(machines(), st.data())
def test_entries_that_come_in_the_middle_lead_to_the_ends_of_the_last(
    machine: Machine, data: st.DataObject
) -> None:
    for number in range(1, 1 + data.draw(st.integers(1, 3))):
        machine.settle(most=data.draw(st.integers(0, 12)))
        generation = machine.entry.desired.generation + data.draw(st.sampled_from([0, 0, 0, 1]))
        coming = data.draw(entries(generation, first=10 * number))
        before = machine.entry.desired
        left = before.actions if before.generation == generation else ()
        kept = [action for action in left if data.draw(st.booleans())]
        coming = coming.model_copy(update={"actions": (*kept, *coming.actions)})
        taken = fold(machine.entry, coming, machine.now)
        assert taken is not None
        machine.entry = taken
        machine.starts = 0 if generation > 2 else machine.starts
    machine.settle()
    check(machine)


@THOROUGH
@given(machines(), st.integers(0, 12))
def test_what_shall_be_gone_goes_from_anywhere(machine: Machine, steps: int) -> None:
    machine.settle(most=steps)
    generation = max(2, machine.domain.generation if machine.domain is not None else 0)
    taken = fold(machine.entry, an_entry(Desired.ABSENT, generation), machine.now)
    assert taken is not None
    machine.entry = taken
    machine.settle()
    assert machine.domain is None
