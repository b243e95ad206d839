"""What the journal holds about one VM changes with each word that comes and each that is said."""

from dataclasses import replace
from datetime import timedelta

import pytest

from events.desired import ActionVerb, Done
from events.facts import PauseCause, StopCause, VmActionDone, VmAgentGone, VmFact, VmResumed, VmStopping
from events.ids import Generation
from events.values import Desired, VmPhase
from services.hostd.core.domain import Domain, DomainState
from services.hostd.core.entry import (
    RESUME_S_MAX,
    SOUND_S,
    Begun,
    Entry,
    Run,
    fold,
    killing,
    noted,
    rebooted,
    rebooting,
    resuming,
    seen,
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
    stopped,
)

SOON = NOON + timedelta(seconds=10)
LATER = NOON + timedelta(seconds=SOUND_S + 1)
STOP = an_entry(Desired.STOPPED, grace_s=10)
STOPPING = VmStopping(vm_id=VM, host_id=HOST, generation=Generation(1))
RESUMED = VmResumed(vm_id=VM, host_id=HOST, generation=Generation(1), phase=VmPhase.RUNNING)
REBOOT, RESET = an_action(1, ActionVerb.REBOOT, 20), an_action(2, ActionVerb.RESET)
BEGUN = Begun(token=command_id(1), at=NOON, asked_at=NOON)
IO = PauseCause.IO_ERROR


@pytest.mark.parametrize("desired", Desired)
def test_an_older_generation_is_refused(desired: Desired) -> None:
    assert fold(Entry(an_entry(generation=3)), an_entry(desired, generation=2), NOON) is None


def test_a_new_generation_begins_with_nothing() -> None:
    before = Entry(STOP, stopped(), SOON, NOON, forced=True, run=Run(up=True, begun=BEGUN))
    coming = an_entry(generation=2).model_copy(update={"made_disks": ("data",)})
    assert fold(before, coming, NOON) == Entry(coming), "what is there only the host itself can say"


def test_the_disks_of_a_domain_that_was_seen_are_in_every_fact_from_there_on() -> None:
    entry = Entry(an_entry(), run=Run(disks=("data",)))
    there = Domain(VM, Generation(1), DomainState.OFF, disks=("logs",))
    assert seen(entry, there).run.disks == ("data", "logs")
    assert seen(entry, None) == entry
    assert seen(entry, replace(there, generation=Generation(2))) == entry


@pytest.mark.parametrize(("grace_s", "by_s"), [(1, 1), (10, 10), (60, 10)])
def test_a_shorter_grace_counts_from_when_it_was_read_and_no_word_prolongs_it(
    grace_s: float, by_s: float
) -> None:
    before = Entry(STOP, STOPPING, SOON, NOON)
    coming = an_entry(Desired.STOPPED, grace_s=grace_s)
    expected = replace(before, desired=coming, stop_by=NOON + timedelta(seconds=by_s))
    assert fold(before, coming, NOON) == expected


def test_what_is_done_is_kept_for_as_long_as_the_entry_asks_for_it() -> None:
    done = tuple(Done(token=command_id(number)) for number in (1, 2))
    asked = an_entry().model_copy(update={"actions": (REBOOT, RESET)})
    before = Entry(asked, running(), run=Run(done=done, begun=BEGUN))
    for actions, left, begun in (((REBOOT, RESET), done, BEGUN), ((RESET,), done[1:], None), ((), (), None)):
        after = fold(before, asked.model_copy(update={"actions": actions}), NOON)
        assert after is not None
        assert (after.run.done, after.run.begun) == (left, begun)


def after(*facts: VmFact) -> Run:
    entry = Entry(an_entry())
    for number, fact in enumerate(facts):
        entry = noted(entry, fact, NOON + timedelta(seconds=number))
        assert entry.reported == fact
    return entry.run


def test_facts_leave_what_must_be_known_of_them() -> None:
    second = NOON + timedelta(seconds=1)
    assert after(booting()) == Run(booted_at=NOON)
    assert after(booting(), running()) == Run(booted_at=NOON, up=True, agent=True)
    assert after(running(), VmAgentGone(**told(), phase=VmPhase.RUNNING)).agent is False
    assert after(booting(), paused(IO)) == Run(booted_at=NOON, paused=IO, paused_at=second)
    assert after(running(), paused(), RESUMED).paused is None
    assert after(booting().model_copy(update={"disks": ("data",), "responding": False})) == Run(
        booted_at=NOON, disks=("data",), responding=False
    )


def told() -> dict[str, object]:
    return {"vm_id": VM, "host_id": HOST, "generation": 1}


def test_standing_still_is_no_time_to_boot_in() -> None:
    assert after(booting(), paused(), RESUMED).booted_at == NOON + timedelta(seconds=2)
    assert after(booting(), running(), paused(), RESUMED).booted_at == NOON


def test_what_was_said_to_run_before_that_was_kept_is_up_after_a_pause() -> None:
    entry = noted(Entry(an_entry(), running()), paused(), NOON)
    assert entry.run.up


def test_an_action_that_is_done_is_no_longer_under_way() -> None:
    entry = rebooting(Entry(an_entry().model_copy(update={"actions": (REBOOT, RESET)})), REBOOT, NOON)
    assert entry.action == REBOOT
    fact = VmActionDone(**told(), phase=VmPhase.RUNNING, token=REBOOT.token, verb=REBOOT.verb)
    entry = noted(entry, having_done(fact, 1), NOON)
    assert (entry.run.begun, entry.action) == (None, RESET)


def test_a_reboot_counts_from_when_it_was_first_asked_for() -> None:
    entry = rebooting(Entry(an_entry()), REBOOT, NOON)
    again = rebooting(entry, REBOOT, SOON)
    assert again.run.begun == BEGUN.model_copy(update={"asked_at": SOON})
    assert rebooting(again, an_action(7, ActionVerb.REBOOT), SOON).run.begun == Begun(
        token=command_id(7), at=SOON, asked_at=SOON
    )


def test_a_reboot_that_nobody_asked_for_is_none_of_ours() -> None:
    entry = Entry(an_entry())
    assert rebooted(entry) == entry
    seen = rebooted(rebooting(entry, REBOOT, NOON)).run.begun
    assert seen is not None
    assert seen.seen


def test_after_an_error_it_is_tried_again_and_each_time_later_until_it_is_sound() -> None:
    entry = noted(Entry(an_entry(), running()), paused(IO), NOON)
    waits = []
    for number in range(6):
        at = NOON + timedelta(minutes=number)
        assert entry.resume_at is not None
        assert entry.run.paused_at is not None
        waits.append((entry.resume_at - entry.run.paused_at).total_seconds())
        entry = noted(noted(resuming(entry, at), RESUMED, at), paused(IO), at)
    assert waits == [5, 10, 20, 40, 60, 60]
    entry = noted(entry, paused(IO), LATER + timedelta(minutes=6))
    assert entry.run.resumes == 0


def test_an_error_that_lasts_for_days_is_still_tried_again() -> None:
    entry = Entry(an_entry(), paused(IO), run=Run(paused=IO, paused_at=NOON, resumes=10_000))
    assert entry.resume_at == NOON + timedelta(seconds=RESUME_S_MAX)


def test_why_we_ended_it_is_kept_until_it_goes_on() -> None:
    entry = killing(noted(Entry(an_entry(), running()), paused(IO), NOON), StopCause.IO_ERROR)
    assert entry.run.killed is StopCause.IO_ERROR
    assert noted(entry, RESUMED, NOON).run.killed is None


def test_what_was_never_paused_has_no_time_to_be_resumed_at() -> None:
    assert Entry(an_entry()).resume_at is None
