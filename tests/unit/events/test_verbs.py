"""The verb table says something about every verb in every phase, and phases follow from facts."""

import pytest

from events.facts import VmFact, VmResumed, VmStarting, VmStopping
from events.ids import Generation
from events.values import Desired, VmPhase
from events.vm import VERB_TABLE, Verdict, allowed_verbs, phase_of
from tests.support.builders import (
    HOST,
    OTHER_HOST,
    VM,
    a_vm,
    booting,
    paused,
    placement,
    running,
    start_failed,
    stopped,
)

STARTING = VmStarting(vm_id=VM, host_id=HOST, generation=Generation(1))
STOPPING = VmStopping(vm_id=VM, host_id=HOST, generation=Generation(1))


@pytest.mark.parametrize("row", VERB_TABLE.values(), ids=VERB_TABLE)
def test_each_verb_has_a_verdict_in_each_phase_but_deleted(row: dict[VmPhase, Verdict]) -> None:
    assert row.keys() == set(VmPhase) - {VmPhase.DELETED}


@pytest.mark.parametrize("phase", VmPhase)
def test_in_each_phase_something_can_be_done_unless_the_vm_is_gone(phase: VmPhase) -> None:
    assert bool(allowed_verbs(phase)) == (phase is not VmPhase.DELETED)


@pytest.mark.parametrize(
    ("fact", "phase"),
    [
        (None, VmPhase.STARTING),
        (STARTING, VmPhase.STARTING),
        (booting(), VmPhase.BOOTING),
        (running(), VmPhase.RUNNING),
        (STOPPING, VmPhase.STOPPING),
        (stopped(), VmPhase.STOPPED),
        (start_failed(), VmPhase.STOPPED),
        (running(host=OTHER_HOST), VmPhase.STARTING),
        (running(generation=2), VmPhase.STARTING),
    ],
)
def test_a_placed_vm_is_what_its_host_reports_in_its_generation(fact: VmFact | None, phase: VmPhase) -> None:
    assert phase_of(a_vm(desired=Desired.RUNNING, placed=placement()), fact) is phase


@pytest.mark.parametrize("fact", [None, STARTING, booting(), running(), STOPPING])
def test_a_vm_that_shall_stop_is_stopping_until_it_was_seen_to_have_stopped(fact: VmFact | None) -> None:
    vm = a_vm(placed=placement())
    assert phase_of(vm, fact) is VmPhase.STOPPING
    assert phase_of(vm, stopped()) is VmPhase.STOPPED


def test_a_vm_that_is_placed_nowhere_is_stopped_whatever_anyone_reports() -> None:
    assert phase_of(a_vm(), running()) is VmPhase.STOPPED


def test_a_deleted_vm_is_deleted_whatever_anyone_reports() -> None:
    assert phase_of(a_vm(desired=Desired.ABSENT), running()) is VmPhase.DELETED


RESUMED = VmResumed(vm_id=VM, host_id=HOST, generation=Generation(1), phase=VmPhase.BOOTING)


@pytest.mark.parametrize("desired", [Desired.RUNNING, Desired.PAUSED])
def test_a_notice_names_the_phase_and_a_pause_is_one_whatever_was_asked(desired: Desired) -> None:
    vm = a_vm(desired=desired, placed=placement())
    assert phase_of(vm, RESUMED) is VmPhase.BOOTING
    assert phase_of(vm, paused()) is VmPhase.PAUSED
