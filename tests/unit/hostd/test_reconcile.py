"""The next step about one VM, whatever is desired of it and whatever is seen."""

from dataclasses import replace
from datetime import timedelta

import pytest

from events.desired import Action, ActionVerb, DesiredVm
from events.facts import (
    Notice,
    PauseCause,
    StopCause,
    VmAgentConnected,
    VmAgentGone,
    VmDisksRemoved,
    VmFact,
    VmResumed,
    VmRunning,
    VmStarting,
    VmStopping,
)
from events.ids import Generation
from events.spec import ErrorPolicy
from events.values import Desired, VmPhase
from services.hostd.core.domain import Domain, DomainState
from services.hostd.core.entry import RESUME_S, Begun, Entry, Run
from services.hostd.core.reconcile import (
    ASK_AGAIN_S,
    PROBE_AGAIN_S,
    REBOOT_AGAIN_S,
    WORKED_ON_S,
    Act,
    AskReboot,
    AskShutdown,
    Finish,
    Forget,
    Idle,
    Next,
    Pause,
    PowerOff,
    ProbeAgent,
    ProbeMonitor,
    RemoveDisks,
    Report,
    Resume,
    Start,
    Undefine,
    Wait,
    reconcile,
)
from tests.support.builders import (
    HOST,
    NOON,
    VM,
    an_action,
    an_entry,
    booting,
    command_id,
    having_done,
    paused,
    running,
    spec,
    start_failed,
    stopped,
)

ACTIVE, OFF = DomainState.ACTIVE, DomainState.OFF
STARTING = VmStarting(vm_id=VM, host_id=HOST, generation=Generation(1))
STARTING_2 = VmStarting(vm_id=VM, host_id=HOST, generation=Generation(2))
STOPPING = VmStopping(vm_id=VM, host_id=HOST, generation=Generation(1))
SOON, AGO = NOON + timedelta(seconds=10), NOON - timedelta(seconds=9)
RUN, STOP, GONE = an_entry(Desired.RUNNING), an_entry(Desired.STOPPED, grace_s=10), an_entry(Desired.ABSENT)
HOLD = an_entry(Desired.PAUSED)
WAIT_S = spec().agent_wait_s
USER, IO, SPACE = PauseCause.USER, PauseCause.IO_ERROR, PauseCause.NO_SPACE
UP = Run(booted_at=AGO, up=True, agent=True)


def domain(
    state: DomainState = ACTIVE,
    generation: int = 1,
    *,
    agent: bool = False,
    cause: StopCause = StopCause.GUEST,
    paused: PauseCause | None = None,
) -> Domain:
    return Domain(VM, Generation(generation), state, agent, cause, paused)


def step_of(entry: Entry, seen: Domain | None) -> Next:
    return reconcile(HOST, entry, seen, NOON)


def notice(kind: type[Notice], phase: VmPhase = VmPhase.RUNNING) -> VmFact:
    return kind(vm_id=VM, host_id=HOST, generation=Generation(1), phase=phase)  # type: ignore[return-value]


@pytest.mark.parametrize("wanted", [RUN, HOLD])
@pytest.mark.parametrize(
    ("reported", "seen", "step"),
    [
        (None, None, Report(STARTING)),
        (STARTING, None, Start()),
        (STARTING, domain(OFF, cause=StopCause.LOST), Start()),
        (STARTING, domain(OFF, cause=StopCause.CRASHED), Start()),
        (STARTING, domain(OFF), Report(stopped(cause=StopCause.GUEST))),
        (STARTING, domain(), Start()),
        (None, domain(), Start()),
        (STOPPING, domain(), Start()),
        (running(), domain(OFF), Report(stopped(cause=StopCause.GUEST))),
        (paused(), domain(OFF), Report(stopped(cause=StopCause.GUEST))),
        (running(), None, Report(stopped(cause=StopCause.LOST))),
        (stopped(), None, Idle()),
        (stopped(), domain(), Idle()),
        (start_failed(), None, Idle()),
        (None, domain(generation=2), Idle()),
    ],
)
def test_what_shall_run_is_started_once_and_its_end_is_said_once(
    wanted: DesiredVm, reported: VmFact | None, seen: Domain | None, step: Next
) -> None:
    assert step_of(Entry(wanted, reported), seen) == step


def test_a_later_generation_takes_over_from_an_older_one() -> None:
    entry = Entry(an_entry(generation=2))
    assert step_of(entry, domain(generation=1)) == PowerOff()
    assert step_of(replace(entry, reported=STARTING_2), domain(OFF)) == Start()


@pytest.mark.parametrize(
    ("run", "seen", "step"),
    [
        (Run(booted_at=NOON), domain(), Wait(WAIT_S)),
        (Run(booted_at=NOON), domain(agent=True), ProbeAgent(PROBE_AGAIN_S)),
        (Run(booted_at=NOON - timedelta(seconds=WAIT_S - 0.25)), domain(agent=True), ProbeAgent(0.25)),
        (Run(booted_at=AGO), domain(), Wait(WAIT_S - 9)),
    ],
)
def test_a_guest_that_boots_is_waited_for(run: Run, seen: Domain, step: Next) -> None:
    assert step_of(Entry(RUN, booting(), run=run), seen) == step


@pytest.mark.parametrize("booted_at", [NOON - timedelta(seconds=WAIT_S), None], ids=["long", "not known"])
@pytest.mark.parametrize("agent", [False, True])
def test_a_guest_whose_agent_has_had_its_time_runs(booted_at: object, agent: bool) -> None:
    run = Run.model_validate({"booted_at": booted_at})
    said = VmRunning(vm_id=VM, host_id=HOST, generation=Generation(1), agent=False)
    assert step_of(Entry(RUN, booting(), run=run), domain(agent=agent)) == Report(said)


@pytest.mark.parametrize(
    ("known", "seen", "step"),
    [
        (True, True, Idle()),
        (False, False, Idle()),
        (False, True, Report(notice(VmAgentConnected))),
        (True, False, Report(notice(VmAgentGone))),
    ],
)
def test_that_an_agent_came_or_went_is_said_once(known: bool, seen: bool, step: Next) -> None:
    entry = Entry(RUN, running(), run=UP.model_copy(update={"agent": known}))
    assert step_of(entry, domain(agent=seen)) == step


@pytest.mark.parametrize("seen", [domain(), domain(paused=IO)])
@pytest.mark.parametrize("wanted", [RUN, HOLD])
def test_nothing_is_done_to_a_guest_that_does_not_answer_but_to_ask_it(
    wanted: DesiredVm, seen: Domain
) -> None:
    run = Run(responding=False, booted_at=AGO, up=True)
    assert step_of(Entry(acting(ActionVerb.RESET, wanted=wanted), running(), run=run), seen) == ProbeMonitor()


def with_policy(policy: ErrorPolicy, wanted: DesiredVm = RUN) -> DesiredVm:
    return wanted.model_copy(update={"spec": wanted.spec.model_copy(update={"on_io_error": policy})})


def stood_still(cause: PauseCause, *, resumes: int = 0, for_s: float = 0.0) -> Run:
    at = NOON - timedelta(seconds=for_s)
    return Run(booted_at=AGO, up=True, paused=cause, paused_at=at, resumes=resumes)


AUTO, LEAVE, KILL = ErrorPolicy.AUTO_RESUME, ErrorPolicy.LEAVE_PAUSED, ErrorPolicy.KILL


@pytest.mark.parametrize(
    ("wanted", "known", "cause", "step"),
    [
        (RUN, UP, IO, Report(paused(IO))),
        (RUN, stood_still(USER), IO, Report(paused(IO))),
        (RUN, stood_still(PauseCause.OTHER), PauseCause.OTHER, Wait(WORKED_ON_S)),
        (HOLD, stood_still(PauseCause.OTHER), PauseCause.OTHER, Wait(WORKED_ON_S)),
        (RUN, stood_still(USER), USER, Resume()),
        (HOLD, stood_still(USER), USER, Idle()),
        (HOLD, stood_still(IO), IO, Idle()),
        (with_policy(KILL, HOLD), stood_still(IO), IO, Idle()),
        (RUN, stood_still(PauseCause.WATCHDOG), PauseCause.WATCHDOG, Idle()),
        (RUN, stood_still(PauseCause.CRASHED), PauseCause.CRASHED, Idle()),
        (RUN, stood_still(PauseCause.MIGRATION), PauseCause.MIGRATION, Idle()),
        (with_policy(KILL), stood_still(IO), IO, PowerOff(cause=StopCause.IO_ERROR)),
        (with_policy(KILL), stood_still(SPACE), SPACE, PowerOff(cause=StopCause.IO_ERROR)),
        (with_policy(LEAVE), stood_still(IO), IO, Idle()),
        (with_policy(AUTO), stood_still(IO), IO, Wait(RESUME_S)),
        (with_policy(AUTO), stood_still(SPACE, for_s=4), SPACE, Wait(1.0)),
        (with_policy(AUTO), stood_still(IO, for_s=5), IO, Resume(again=True)),
        (with_policy(AUTO), stood_still(IO, resumes=2), IO, Wait(20.0)),
        (with_policy(AUTO), stood_still(IO, resumes=9), IO, Wait(60.0)),
        (with_policy(AUTO), stood_still(IO, resumes=100_000), IO, Wait(60.0)),
    ],
)
def test_a_guest_that_stands_still(wanted: DesiredVm, known: Run, cause: PauseCause, step: Next) -> None:
    reported = paused(known.paused) if known.paused is not None else running()
    assert step_of(Entry(wanted, reported, run=known), domain(agent=True, paused=cause)) == step


def test_what_was_ended_for_an_error_says_so() -> None:
    run = stood_still(IO).model_copy(update={"killed": StopCause.IO_ERROR})
    seen = domain(OFF, cause=StopCause.POWERED_OFF)
    assert step_of(Entry(with_policy(KILL), paused(IO), run=run), seen) == Report(
        stopped(cause=StopCause.IO_ERROR)
    )


@pytest.mark.parametrize(("up", "phase"), [(True, VmPhase.RUNNING), (False, VmPhase.BOOTING)])
@pytest.mark.parametrize("wanted", [RUN, HOLD])
def test_a_guest_that_goes_on_is_what_it_was(wanted: DesiredVm, up: bool, phase: VmPhase) -> None:
    run = stood_still(USER).model_copy(update={"up": up})
    assert step_of(Entry(wanted, paused(), run=run), domain()) == Report(notice(VmResumed, phase))


@pytest.mark.parametrize("reported", [booting(), running()])
def test_what_shall_stand_still_is_made_to_before_all_else(reported: VmFact) -> None:
    entry = Entry(acting(ActionVerb.RESET, wanted=HOLD), reported, run=Run(booted_at=NOON))
    assert step_of(entry, domain(agent=True)) == Pause()


def acting(*verbs: ActionVerb, wanted: DesiredVm = RUN, grace_s: float = 20.0) -> DesiredVm:
    actions = tuple(an_action(number, verb, grace_s) for number, verb in enumerate(verbs, 1))
    return wanted.model_copy(update={"actions": actions})


REBOOT, RESET, RESUME, UPDATE = (
    an_action(1, verb, 20.0)
    for verb in (ActionVerb.REBOOT, ActionVerb.RESET, ActionVerb.RESUME, ActionVerb.UPDATE)
)
REFUSED = "the guest stands still (user): it cannot reboot by itself"


@pytest.mark.parametrize(
    ("action", "goes_on", "stands_still"),
    [
        (RESET, Act(RESET), Act(RESET)),
        (UPDATE, Act(UPDATE), Act(UPDATE)),
        (RESUME, Finish(RESUME), Act(RESUME)),
        (REBOOT, AskReboot(REBOOT), Finish(REBOOT, refused=REFUSED)),
    ],
)
def test_an_action_is_done_to_a_guest_that_goes_on_or_stands_still(
    action: Action, goes_on: Next, stands_still: Next
) -> None:
    wanted = acting(action.verb)
    assert step_of(Entry(wanted, running(), run=UP), domain(agent=True)) == goes_on
    assert step_of(Entry(wanted, booting(), run=Run(booted_at=NOON)), domain()) == goes_on
    still = Entry(wanted, paused(), run=stood_still(USER))
    assert step_of(still, domain(paused=USER)) == stands_still


@pytest.mark.parametrize(
    ("done", "step"), [((1,), Act(an_action(2, ActionVerb.UPDATE, 20.0))), ((1, 2), Idle())]
)
def test_what_is_done_is_not_done_again_and_the_next_comes_after_it(
    done: tuple[int, ...], step: Next
) -> None:
    fact = having_done(running(), *done)
    run = UP.model_copy(update={"done": fact.done})
    entry = Entry(acting(ActionVerb.RESET, ActionVerb.UPDATE), fact, run=run)
    assert step_of(entry, domain(agent=True)) == step


def begun(asked_ago_s: float, began_ago_s: float, *, seen: bool = False, number: int = 1) -> Run:
    at, asked_at = (NOON - timedelta(seconds=ago) for ago in (began_ago_s, asked_ago_s))
    told = Begun(token=command_id(number), at=at, asked_at=asked_at, seen=seen)
    return UP.model_copy(update={"begun": told})


@pytest.mark.parametrize(
    ("run", "step"),
    [
        (begun(0, 0), Wait(REBOOT_AGAIN_S)),
        (begun(0, 19), Wait(1.0)),
        (begun(15, 15), AskReboot(REBOOT)),
        (begun(5, 20), Act(REBOOT)),
        (begun(0, 0, seen=True), Finish(REBOOT)),
        (begun(30, 30, seen=True), Finish(REBOOT)),
        (begun(0, 0, number=7), AskReboot(REBOOT)),
    ],
)
def test_a_guest_that_was_asked_to_reboot_is_given_its_time_and_then_reset(run: Run, step: Next) -> None:
    assert step_of(Entry(acting(ActionVerb.REBOOT), running(), run=run), domain(agent=True)) == step


def test_a_reboot_that_leaves_no_time_is_a_reset() -> None:
    entry = Entry(acting(ActionVerb.REBOOT, grace_s=0), running(), run=UP)
    assert step_of(entry, domain(agent=True)) == Act(an_action(1, ActionVerb.REBOOT))


def test_a_reboot_that_was_seen_before_the_guest_stood_still_is_done() -> None:
    run = begun(1, 1, seen=True).model_copy(update={"paused": USER, "paused_at": NOON})
    entry = Entry(acting(ActionVerb.REBOOT), paused(), run=run)
    assert step_of(entry, domain(paused=USER)) == Finish(REBOOT)


@pytest.mark.parametrize(
    ("entry", "seen", "step"),
    [
        (Entry(STOP, running(), SOON), domain(), Report(STOPPING)),
        (Entry(STOP, paused(), SOON), domain(paused=USER), Report(STOPPING)),
        (Entry(STOP, STOPPING, SOON), domain(), AskShutdown()),
        (Entry(STOP, STOPPING, SOON, NOON), domain(), Wait(ASK_AGAIN_S)),
        (Entry(STOP, STOPPING, SOON, AGO), domain(), AskShutdown()),
        (Entry(STOP, STOPPING, NOON), domain(), PowerOff(forced=True)),
        (Entry(STOP, STOPPING, SOON), domain(OFF), Report(stopped())),
        (Entry(STOP, STOPPING, SOON, forced=True), None, Report(stopped(cause=StopCause.FORCED))),
        (Entry(STOP), None, Report(stopped())),
        (Entry(STOP, stopped()), None, Idle()),
        (Entry(acting(ActionVerb.UPDATE, wanted=STOP), STOPPING, SOON), domain(), AskShutdown()),
    ],
)
def test_what_shall_stop(entry: Entry, seen: Domain | None, step: Next) -> None:
    assert step_of(entry, seen) == step


REMOVE = GONE.model_copy(update={"remove_disks": True})
REMOVED = VmDisksRemoved(vm_id=VM, host_id=HOST, generation=Generation(1), phase=VmPhase.DELETED)


@pytest.mark.parametrize(
    ("entry", "seen", "step"),
    [
        (Entry(GONE), domain(), PowerOff()),
        (Entry(GONE), domain(OFF), Undefine()),
        (Entry(GONE), None, Forget()),
        (Entry(REMOVE), domain(), PowerOff()),
        (Entry(REMOVE), domain(OFF), Undefine()),
        (Entry(REMOVE, stopped()), None, RemoveDisks()),
        (Entry(REMOVE, REMOVED), None, Forget()),
    ],
)
def test_what_shall_be_gone(entry: Entry, seen: Domain | None, step: Next) -> None:
    assert step_of(entry, seen) == step
