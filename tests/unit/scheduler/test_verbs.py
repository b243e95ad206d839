"""Every verb in every phase does what the table says; what a host does once ends with its token."""

import pytest

from events.codes import Code
from events.commands import (
    CreateVm,
    DeleteVm,
    PauseVm,
    PowerOffVm,
    RebootVm,
    ResetVm,
    ResumeVm,
    StartVm,
    StopVm,
    UpdateVm,
    VerbCommand,
)
from events.desired import ActionVerb
from events.events import HostRegistered, Outcome
from events.facts import PauseCause, VmFact, VmNotResponding, VmRebooted, VmResumed
from events.ids import Generation
from events.spec import RunOnce
from events.values import Desired, VmPhase
from events.vm import PENDING_MAX, VERB_TABLE, Verb, Verdict, allowed_verbs, phase_of
from tests.support.builders import (
    HOST,
    VM,
    a_host,
    an_action,
    booting,
    command_id,
    having_done,
    paused,
    running,
    spec,
    stopped,
)
from tests.unit.scheduler.story import Story, given

COMMANDS: dict[Verb, VerbCommand] = {
    "start": StartVm(vm_id=VM),
    "stop": StopVm(vm_id=VM),
    "power_off": PowerOffVm(vm_id=VM),
    "reboot": RebootVm(vm_id=VM, grace_s=20),
    "reset": ResetVm(vm_id=VM),
    "pause": PauseVm(vm_id=VM),
    "resume": ResumeVm(vm_id=VM),
    "update": UpdateVm(vm_id=VM, patch={"vcpus": 1}),
    "delete": DeleteVm(vm_id=VM),
}
START, STOP, PAUSE, RESUME = (COMMANDS[verb] for verb in ("start", "stop", "pause", "resume"))
OK, FAILED = Outcome.SUCCEEDED, Outcome.FAILED
ENDED = ("command.ended",)
RESUMED = VmResumed(vm_id=VM, host_id=HOST, generation=Generation(1), phase=VmPhase.RUNNING)


def in_phase(phase: VmPhase) -> Story:
    """A VM in this phase, with nothing pending but what the phase itself means."""
    created = given(HostRegistered(host=a_host()), CreateVm(vm_id=VM, spec=spec()))
    match phase:
        case VmPhase.STOPPED:
            return created
        case VmPhase.DELETED:
            return created.when(COMMANDS["delete"], 90)
        case VmPhase.STARTING:
            return created.when(START, 90)
        case VmPhase.BOOTING:
            return created.when(START, 90).when(booting())
        case VmPhase.RUNNING:
            return created.when(START, 90).when(running())
        case VmPhase.PAUSED:
            return created.when(START, 90).when(running()).when(PAUSE, 91).when(having_done(paused(), 91))
        case VmPhase.STOPPING:
            return created.when(START, 90).when(running()).when(STOP, 90)


def running_vm() -> Story:
    return in_phase(VmPhase.RUNNING)


@pytest.mark.parametrize("phase", VmPhase)
def test_each_phase_is_what_it_says(phase: VmPhase) -> None:
    vm = in_phase(phase).vm()
    fact = in_phase(phase).scene().fact
    assert phase_of(vm, fact) is phase


@pytest.mark.parametrize("phase", [phase for phase in VmPhase if phase is not VmPhase.DELETED])
@pytest.mark.parametrize("verb", VERB_TABLE)
def test_a_verb_in_a_phase_does_what_the_table_says(verb: Verb, phase: VmPhase) -> None:
    story, verdict = in_phase(phase), VERB_TABLE[verb][phase]
    before = story.vm()
    story.when(COMMANDS[verb])
    match verdict:
        case Verdict.DO:
            assert before != story.vm()
            told = [one for one in story.ended if one.command_id == command_id(1)]
            assert told == [] or (told[0].outcome, told[0].code) == (OK, None)
            assert len(told) + story.pending().count(command_id(1)) == 1
        case Verdict.JOIN:
            assert story.ended == []
            assert story.pending() == [command_id(90), command_id(1)]
        case Verdict.ALREADY:
            assert story.then(*ENDED).ends(1, OK, Code.ALREADY_SO).facts == {"phase": phase}
            assert story.vm() == before
        case Verdict.REFUSE:
            facts = story.then(*ENDED).ends(1, FAILED, Code.WRONG_PHASE).facts
            allowed = ", ".join(allowed_verbs(phase))
            assert facts == {"verb": verb, "phase": phase, "allowed": allowed}
            assert story.vm() == before


@pytest.mark.parametrize("verb", VERB_TABLE)
def test_every_verb_on_what_is_deleted_or_was_never_there_is_no_such_vm(verb: Verb) -> None:
    for story in (in_phase(VmPhase.DELETED), given()):
        facts = story.when(COMMANDS[verb]).then(*ENDED).ends(1, FAILED, Code.NO_SUCH_VM).facts
        assert facts == {"vm": f"vm_{VM}"}


@pytest.mark.parametrize("verb", ["start", "pause", "resume", "reboot", "reset", "update"])
def test_each_that_waits_is_counted_and_a_stop_takes_the_place_of_all_but_updates(verb: Verb) -> None:
    phase = {"start": VmPhase.STARTING, "resume": VmPhase.PAUSED}.get(verb, VmPhase.RUNNING)
    story = in_phase(phase)
    for number in range(1, PENDING_MAX + 2):
        command = COMMANDS[verb]
        if isinstance(command, UpdateVm):
            command = UpdateVm(vm_id=VM, patch={"priority": number})
        story.when(command, number)
    waiting = len(story.pending())
    assert waiting == PENDING_MAX
    assert story.ended[0].code is Code.TOO_MANY_PENDING
    story.when(STOP, 50)
    assert story.pending()[-1] == command_id(50)
    assert len(story.pending()) == (1 + PENDING_MAX if verb == "update" else 1)


def test_a_pause_is_held_and_ends_when_the_guest_stands_still() -> None:
    story = running_vm().when(PAUSE).then("vm.action_requested", "host.vm_desired")
    assert (story.entry().desired, story.entry().actions) == (
        Desired.PAUSED,
        (an_action(1, ActionVerb.PAUSE),),
    )
    story.when(paused()).then()
    story.when(having_done(paused(), 1)).then(*ENDED).ends(1, OK)
    assert story.vm().desired is Desired.PAUSED


def test_a_pause_that_the_hypervisor_refuses_is_over_and_the_vm_shall_run() -> None:
    story = running_vm().when(PAUSE).when(having_done(running(), 1, refused="no"))
    story.then("command.ended", "host.vm_desired").ends(1, FAILED, Code.ACTION_REFUSED)
    assert (story.entry().desired, story.entry().actions) == (Desired.RUNNING, ())


def test_a_resume_is_done_once_and_ends_with_its_token() -> None:
    story = in_phase(VmPhase.PAUSED).when(RESUME).then("vm.action_requested", "host.vm_desired")
    assert story.entry().desired is Desired.RUNNING
    assert story.entry().actions == (an_action(1, ActionVerb.RESUME),)
    story.when(RESUMED).then()
    story.when(having_done(RESUMED, 1)).then(*ENDED).ends(1, OK)


@pytest.mark.parametrize("cause", [PauseCause.IO_ERROR, PauseCause.NO_SPACE, PauseCause.WATCHDOG])
def test_what_stands_still_by_itself_can_be_resumed_and_can_be_held(cause: PauseCause) -> None:
    story = running_vm().when(paused(cause)).when(RESUME)
    assert story.entry().actions == (an_action(1, ActionVerb.RESUME),)
    story = running_vm().when(paused(cause)).when(PAUSE).then("vm.action_requested", "host.vm_desired")
    story.when(having_done(paused(cause), 1)).ends(1, OK)


def test_a_resume_overtakes_a_pause_that_has_not_come_true() -> None:
    story = running_vm().when(PAUSE, 1).when(RESUME, 2)
    story.then("vm.action_requested", "command.ended", "host.vm_desired")
    facts = story.ends(1, FAILED, Code.SUPERSEDED).facts
    assert facts == {"verb": "pause", "by": f"op_{command_id(2)}"}
    assert story.entry().desired is Desired.RUNNING
    story.when(paused()).then()  # it had come true at the host before the resume was heard
    story.when(having_done(RESUMED, 2)).ends(2, OK)


def test_a_pause_overtakes_a_resume_that_has_not_come_true() -> None:
    story = in_phase(VmPhase.PAUSED).when(RESUME, 1).when(PAUSE, 2)
    story.then("vm.action_requested", "command.ended", "host.vm_desired")
    assert story.ends(1, FAILED, Code.SUPERSEDED).facts["verb"] == "resume"
    assert [one.token for one in story.entry().actions] == [command_id(2)]
    story.when(having_done(paused(), 2)).ends(2, OK)


def test_two_who_want_the_same_end_together() -> None:
    story = running_vm().when(PAUSE, 1).when(PAUSE, 2).when(having_done(paused(), 1, 2))
    story.ends(1, OK)
    story.ends(2, OK)


@pytest.mark.parametrize(("verb", "action", "grace_s"), [("reboot", "reboot", 20.0), ("reset", "reset", 0.0)])
def test_a_reboot_and_a_reset_are_tokens(verb: Verb, action: str, grace_s: float) -> None:
    story = running_vm().when(COMMANDS[verb]).then("vm.action_requested", "host.vm_desired")
    assert story.entry().actions == (an_action(1, ActionVerb(action), grace_s),)
    assert story.entry().desired is Desired.RUNNING
    story.when(VmRebooted(vm_id=VM, host_id=HOST, generation=Generation(1), phase=VmPhase.RUNNING)).then()
    story.when(having_done(running(), 1)).then(*ENDED).ends(1, OK)
    assert story.when(PAUSE, 2).entry().actions == (an_action(2, ActionVerb.PAUSE),)


@pytest.mark.parametrize("asked", [StartVm(vm_id=VM, paused=True), StartVm(vm_id=VM, once=RunOnce(cd="cd"))])
def test_a_vm_that_runs_otherwise_than_it_is_asked_to_start_is_no_success(asked: StartVm) -> None:
    running_vm().when(asked).ends(1, FAILED, Code.WRONG_PHASE)


def test_a_reset_of_a_paused_vm_leaves_it_paused() -> None:
    story = in_phase(VmPhase.PAUSED).when(COMMANDS["reset"])
    assert story.entry().desired is Desired.PAUSED
    assert story.entry().actions == (an_action(1, ActionVerb.RESET),)
    story.when(having_done(paused(), 1)).ends(1, OK)


@pytest.mark.parametrize("verb", ["reboot", "reset"])
def test_an_action_that_the_hypervisor_refuses_ends_with_its_words(verb: Verb) -> None:
    story = running_vm().when(COMMANDS[verb]).when(having_done(running(), 1, refused="no such button"))
    facts = story.ends(1, FAILED, Code.ACTION_REFUSED).facts
    assert facts == {"verb": verb, "message": "no such button", "host": "rack-1"}


def test_actions_are_told_in_their_order_and_end_each_with_its_own_token() -> None:
    story = running_vm().when(COMMANDS["reset"], 1).when(COMMANDS["reboot"], 2)
    assert [one.token for one in story.entry().actions] == [command_id(1), command_id(2)]
    story.when(having_done(running(), 1)).then(*ENDED).ends(1, OK)
    assert story.pending() == [command_id(2)]
    story.when(having_done(running(), 1, 2)).then(*ENDED).ends(2, OK)


@pytest.mark.parametrize("stop", [STOP, COMMANDS["power_off"]])
def test_a_stop_overtakes_whatever_else_was_asked(stop: VerbCommand) -> None:
    story = running_vm()
    for number, verb in enumerate(("reset", "reboot", "pause"), 1):
        story.when(COMMANDS[verb], number)  # type: ignore[index]
    story.when(stop, 9)
    for number in (1, 2, 3):
        story.ends(number, FAILED, Code.SUPERSEDED)
    assert (story.entry().desired, story.entry().actions) == (Desired.STOPPED, ())
    story.when(stopped()).ends(9, OK)


def test_a_reset_does_not_wait_for_a_guest_that_will_not_reboot() -> None:
    story = running_vm().when(COMMANDS["reboot"], 1).when(COMMANDS["reset"], 2)
    story.ends(1, FAILED, Code.SUPERSEDED)
    assert [one.token for one in story.entry().actions] == [command_id(2)]


def test_a_power_off_takes_a_stops_grace_away() -> None:
    story = running_vm().when(STOP, 1).when(COMMANDS["power_off"], 2)
    story.then("vm.stop_requested", "host.vm_desired")
    assert story.entry().grace_s == 0
    story.when(stopped())
    story.ends(1, OK)
    story.ends(2, OK)


@pytest.mark.parametrize("verb", ["reboot", "reset", "pause"])
def test_a_guest_that_goes_away_fails_what_was_asked_of_it(verb: Verb) -> None:
    story = running_vm().when(COMMANDS[verb]).when(stopped())
    assert story.ends(1, FAILED, Code.GUEST_STOPPED).facts == {"host": "rack-1", "cause": "commanded"}


@pytest.mark.parametrize("phase", [VmPhase.STOPPED, VmPhase.DELETED])
def test_a_notice_that_comes_after_the_end_releases_as_the_end_would(phase: VmPhase) -> None:
    """A scheduler that starts reads the last fact alone; and no word of a host may bring it down."""
    late: VmFact = VmNotResponding(vm_id=VM, host_id=HOST, generation=Generation(1), phase=phase, call="x")
    story = running_vm().when(PAUSE).when(late)
    story.then("vm.released", "host.released", "host.vm_desired", "command.ended")
    assert story.ends(1, FAILED, Code.GUEST_STOPPED).facts["cause"] == "lost"
    story.when(START, 2).then("vm.placed", "host.reserved", "host.vm_desired")


def test_a_command_that_is_decided_after_such_a_notice_meets_a_vm_that_stopped() -> None:
    late = VmRebooted(vm_id=VM, host_id=HOST, generation=Generation(1), phase=VmPhase.DELETED)
    story = running_vm().given(late).when(START)
    assert story.vm().generation == 2
