"""What each event makes of the row of a VM."""

from datetime import timedelta
from typing import Any

import pytest

from events.codes import Code
from events.desired import ActionVerb
from events.effective import FailureCode, StartFailure, Step
from events.events import (
    CommandEnded,
    CommandJoined,
    Outcome,
    ReleaseCause,
    VmActionRequested,
    VmCreated,
    VmDeleted,
    VmLiveUpdated,
    VmPlaced,
    VmReleased,
    VmStopRequested,
    VmUpdated,
)
from events.facts import (
    PauseCause,
    StopCause,
    VmActionDone,
    VmAgentConnected,
    VmAgentGone,
    VmBooting,
    VmDisksRemoved,
    VmIoErrorSeen,
    VmNotice,
    VmNotResponding,
    VmPaused,
    VmResponding,
    VmResumed,
    VmRunning,
    VmStartFailed,
    VmStopped,
)
from events.ids import Generation
from events.spec import VmSpec
from events.values import Desired, VmPhase
from events.views import LastFailure, Rows, VmView
from events.vm import Vm
from tests.compat.make_samples import COMMAND, HOST, VM
from tests.support.builders import an_effective
from tests.unit.projector.story import (
    BOOTING,
    CRASHED,
    FIRST,
    NOON,
    OTHER_HOST,
    RUNNING,
    SECOND,
    SPEC,
    START,
    STOP,
    STOPPED,
    STOPPING,
    given,
    placed,
    released,
    running,
    stopping,
)

RUN: dict[str, Any] = {"vm_id": VM, "host_id": HOST, "generation": Generation(1)}
OUT_OF_SPACE = VmPaused(**RUN, cause=PauseCause.NO_SPACE)
EFFECTIVE = an_effective()


def notice(kind: type[VmNotice], phase: VmPhase = VmPhase.RUNNING, **more: Any) -> VmNotice:
    return kind(**RUN, phase=phase, **more)


def shall_pause() -> Vm:
    return running().model_copy(update={"desired": Desired.PAUSED})


def of(spec: VmSpec, ran_as: VmSpec | None = None) -> Vm:
    """A VM that runs as *ran_as* and shall be *spec*."""
    return running().model_copy(update={"spec": spec, "running": ran_as})


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


def test_the_whole_spec_is_kept_and_what_it_runs_as() -> None:
    wanted = SPEC.model_copy(update={"vcpus": 4, "machine": "q35"})
    vm = given(VmCreated(vm=STOPPED), placed()).when(VmUpdated(vm=of(wanted, SPEC), changed=("vcpus",))).vm
    assert (vm.spec, vm.running, vm.vcpus) == (wanted, SPEC, 4)
    gone = VmReleased(vm=released(), placement=FIRST, cause=ReleaseCause.STOPPED)
    assert given(placed()).when(gone).vm.running is None


def test_a_pause_has_a_cause_for_as_long_as_it_lasts() -> None:
    story = given(placed(), RUNNING, OUT_OF_SPACE)
    assert (story.vm.phase, story.vm.pause_cause) == (VmPhase.PAUSED, PauseCause.NO_SPACE)
    seen = notice(VmIoErrorSeen, VmPhase.PAUSED, disk="vda", reason="enospc", action="pause")
    assert (
        story.when(seen, CommandJoined(command_id=STOP, vm=running())).vm.pause_cause is PauseCause.NO_SPACE
    )
    resumed = story.when(notice(VmResumed)).vm
    assert (resumed.phase, resumed.pause_cause) == (VmPhase.RUNNING, None)


@pytest.mark.parametrize("end", [VmStopRequested(vm=stopping()), CRASHED, RUNNING])
def test_whatever_ends_a_pause_ends_its_cause(end: VmStopRequested | VmStopped | VmRunning) -> None:
    assert given(placed(), OUT_OF_SPACE).when(end).vm.pause_cause is None


def test_a_wish_to_pause_changes_no_phase_until_the_host_has_done_it() -> None:
    asked = VmActionRequested(vm=shall_pause(), verb="pause")
    story = given(placed(), RUNNING).when(asked)
    assert (story.vm.phase, story.vm.desired) == (VmPhase.RUNNING, Desired.PAUSED)
    assert story.when(VmPaused(**RUN, cause=PauseCause.USER)).vm.phase is VmPhase.PAUSED
    story.when(VmActionRequested(vm=running(), verb="resume"))
    assert story.vm.phase is VmPhase.PAUSED
    done = notice(VmActionDone, token=COMMAND, verb=ActionVerb.RESUME)
    assert story.when(done).vm.phase is VmPhase.RUNNING


def test_a_vm_that_starts_paused_is_starting_then_paused() -> None:
    story = given(VmPlaced(vm=shall_pause(), placement=FIRST, considered=1))
    assert story.vm.phase is VmPhase.STARTING
    assert story.when(VmPaused(**RUN, cause=PauseCause.USER)).vm.phase is VmPhase.PAUSED


def test_a_notice_to_a_vm_that_shall_stop_leaves_it_stopping() -> None:
    story = given(placed(), RUNNING, VmStopRequested(vm=stopping()))
    assert story.when(notice(VmAgentGone)).vm.phase is VmPhase.STOPPING


def test_a_guest_that_does_not_answer_is_told_beside_its_phase() -> None:
    story = given(placed(), RUNNING).when(notice(VmNotResponding, call="virDomainGetInfo"))
    assert (story.vm.phase, story.vm.responding) == (VmPhase.RUNNING, False)
    assert not story.when(notice(VmAgentGone, responding=False)).vm.responding
    assert story.when(notice(VmResponding)).vm.responding
    story.when(notice(VmNotResponding, call="virDomainGetInfo"))
    assert story.when(VmReleased(vm=released(), placement=FIRST, cause=ReleaseCause.STOPPED)).vm.responding


def test_the_agent_is_there_or_not() -> None:
    story = given(placed(), BOOTING)
    assert not story.vm.agent
    assert not given(placed(), VmRunning(**RUN, agent=False)).vm.agent
    assert story.when(RUNNING).vm.agent
    assert not story.when(notice(VmAgentGone)).vm.agent
    assert story.when(notice(VmAgentConnected)).vm.agent
    assert story.when(OUT_OF_SPACE, CommandJoined(command_id=STOP, vm=running())).vm.agent
    assert not story.when(CRASHED).vm.agent
    assert not given(placed(), RUNNING, placed(SECOND)).vm.agent


def test_what_the_hypervisor_has_is_kept_until_the_next_placement() -> None:
    booted = VmBooting(**RUN, effective=EFFECTIVE)
    story = given(VmCreated(vm=STOPPED), placed(), booted, BOOTING, CRASHED)
    story.when(VmReleased(vm=released(), placement=FIRST, cause=ReleaseCause.STOPPED))
    assert story.vm.effective == EFFECTIVE
    assert story.when(placed(SECOND)).vm.effective is None


def test_what_was_plugged_shows_in_what_the_hypervisor_has() -> None:
    ran_as = SPEC.model_copy(update={"vcpus": 3, "memory_mib": 256})
    story = given(placed(), VmBooting(**RUN, effective=EFFECTIVE))
    story.when(VmLiveUpdated(vm=of(ran_as, ran_as), changed=("vcpus", "memory_mib")))
    assert story.vm.effective == EFFECTIVE.model_copy(update={"vcpus": 3, "memory_mib": 256})
    unread = given(placed()).when(VmLiveUpdated(vm=of(ran_as, ran_as), changed=("vcpus",))).vm
    assert (unread.effective, unread.running) == (None, ran_as)


def test_a_failed_start_leaves_what_was_wrong_until_the_next_placement() -> None:
    failures = (StartFailure(step=Step.VALIDATE, code=FailureCode.IMAGE, message="no image tiny"),)
    refused = VmStartFailed(**RUN, message="1 thing", failures=failures, log_tail="qemu: no")
    story = given(placed(), refused)
    story.when(VmReleased(vm=released(), placement=FIRST, cause=ReleaseCause.START_FAILED))
    told = LastFailure(message="1 thing", failures=failures, log_tail="qemu: no")
    assert (story.vm.last_failure, story.vm.last_stop) == (told, "1 thing")
    assert story.when(placed(SECOND)).vm.last_failure is None


def test_disks_that_are_removed_after_a_delete_change_nothing() -> None:
    gone = STOPPED.model_copy(update={"desired": Desired.ABSENT})
    story = given(VmCreated(vm=STOPPED), VmDeleted(vm=gone))
    row = story.vm
    assert story.when(notice(VmDisksRemoved, VmPhase.STOPPED, paths=("/d",))).vm == row


def test_a_row_of_an_older_release_has_the_spec_that_this_release_knew() -> None:
    row = given(VmCreated(vm=STOPPED)).vm.model_dump() | {"spec": None}
    assert VmView.model_validate(row).spec == SPEC
