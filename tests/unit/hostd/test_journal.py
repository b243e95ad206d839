"""The host's memory on a real file: nothing is folded twice, nothing is lost, nothing is half done."""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event, Thread

import pytest

from events import subjects
from events.desired import ActionVerb, DesiredVm
from events.facts import PauseCause, StopCause, VmFact
from events.ids import Seq, VmId
from events.values import Desired
from infra.eventlog.port import Write
from infra.runtime.errors import Unavailable
from services.hostd.core.entry import asking, forcing, killing, rebooting, resuming
from services.hostd.journal import MIGRATIONS, Journal
from tests.support.builders import (
    HOST,
    NOON,
    VM,
    a_write,
    an_action,
    an_entry,
    booting,
    having_done,
    paused,
    running,
    vm_id,
    with_disks,
)

OTHER = vm_id(5)
CLOSINGS = 50
FACT = subjects.vm_fact(VM, HOST)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.sqlite"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    opened = Journal(path)
    yield opened
    opened.close()


def folded(
    journal: Journal, messages: Sequence[tuple[Seq, DesiredVm | None]], now: datetime = NOON
) -> list[VmId]:
    """Take messages in; name the VMs that changed."""
    return [entry.desired.vm_id for entry in journal.fold(messages, now)]


def said(fact: VmFact) -> tuple[VmFact, Write, datetime]:
    return fact, a_write(FACT, fact), NOON


def test_a_redelivery_is_folded_once(journal: Journal) -> None:
    stop = an_entry(Desired.STOPPED, grace_s=10)
    assert folded(journal, [(Seq(1), an_entry()), (Seq(2), stop)]) == [VM]
    before = journal.entry(VM)
    assert folded(journal, [(Seq(1), an_entry()), (Seq(2), stop)], NOON + timedelta(seconds=9)) == []
    assert journal.entry(VM) == before
    assert before is not None
    assert before.stop_by == NOON + timedelta(seconds=10)


def test_a_message_whose_first_delivery_was_lost_is_folded_after_later_ones(journal: Journal) -> None:
    journal.fold([(Seq(2), an_entry(vm=OTHER))], NOON)
    assert folded(journal, [(Seq(1), an_entry())]) == [VM]


def test_what_is_forgotten_is_not_brought_back_by_a_redelivery(journal: Journal) -> None:
    gone = an_entry(Desired.ABSENT)
    journal.fold([(Seq(1), an_entry()), (Seq(2), gone)], NOON)
    journal.forget(gone)
    assert journal.vm_ids() == ()
    assert folded(journal, [(Seq(1), an_entry()), (Seq(2), gone)]) == []
    assert journal.entry(VM) is None


def test_what_could_not_be_read_changes_nothing_and_stops_nothing(journal: Journal) -> None:
    assert folded(journal, [(Seq(1), None), (Seq(2), an_entry())]) == [VM]


def test_an_entry_that_changed_meanwhile_is_not_forgotten(journal: Journal) -> None:
    journal.fold([(Seq(1), an_entry(Desired.ABSENT)), (Seq(2), an_entry(generation=2))], NOON)
    journal.forget(an_entry(Desired.ABSENT))
    assert journal.vm_ids() == (VM,)


def test_notes_about_a_generation_that_is_over_are_dropped(journal: Journal) -> None:
    journal.fold([(Seq(1), an_entry(generation=2))], NOON)
    journal.note(an_entry(generation=1), lambda entry: asking(entry, NOON))
    journal.note(an_entry(generation=1), forcing)
    entry = journal.entry(VM)
    assert entry is not None
    assert (entry.asked_at, entry.forced) == (None, False)


def test_a_report_is_remembered_and_waits_to_be_published(journal: Journal) -> None:
    journal.fold([(Seq(1), an_entry())], NOON)
    fact, write, now = said(booting())
    given = journal.report(fact, write, now)
    entry = journal.entry(VM)
    assert entry == given
    assert entry is not None
    assert entry.reported == fact
    assert [out.write for out in journal.outgoing(9)] == [write]


def test_a_report_about_an_older_generation_is_published_and_not_remembered(journal: Journal) -> None:
    journal.fold([(Seq(1), an_entry(generation=2))], NOON)
    journal.report(*said(booting()))
    entry = journal.entry(VM)
    assert entry is not None
    assert entry.reported is None
    assert len(journal.outgoing(9)) == 1


def test_facts_are_published_in_order_each_after_the_one_before(journal: Journal) -> None:
    writes = [said(booting())[1], said(running())[1]]
    for write in writes:
        journal.publish_later(write)
    (first,) = journal.outgoing(9)
    assert (first.write, first.expected) == (writes[0], None)
    journal.published([(first, Seq(7))])
    (left,) = journal.outgoing(9)
    assert (left.write, left.expected) == (writes[1], 7)


def test_only_the_oldest_on_each_subject_is_under_way(journal: Journal) -> None:
    other = a_write(subjects.vm_fact(OTHER, HOST), booting(OTHER))
    for write in (said(booting())[1], said(running())[1], other):
        journal.publish_later(write)
    assert [out.write.subject for out in journal.outgoing(9)] == [FACT, other.subject]
    assert [out.write.subject for out in journal.outgoing(2)] == [FACT]


def test_the_same_write_twice_waits_once(journal: Journal) -> None:
    """A try that was given up on comes true after all, and then its repetition."""
    fact, write, now = said(booting())
    journal.report(fact, write, now)
    journal.report(fact, write, now)
    assert len(journal.outgoing(9)) == 1


def test_everything_is_there_after_a_reopening(journal: Journal, path: Path) -> None:
    journal.fold([(Seq(3), an_entry(Desired.STOPPED, grace_s=5))], NOON)
    journal.report(*said(booting()))
    journal.report(*said(paused(PauseCause.IO_ERROR)))
    journal.note(an_entry(), lambda entry: asking(entry, NOON))
    journal.note(an_entry(), forcing)
    journal.note(an_entry(), lambda entry: rebooting(entry, an_action(1, ActionVerb.REBOOT), NOON))
    journal.note(an_entry(), lambda entry: resuming(entry, NOON))
    journal.note(an_entry(), lambda entry: killing(entry, StopCause.IO_ERROR))
    entry, outgoing = journal.entry(VM), journal.outgoing(9)
    journal.close()
    again = Journal(path)
    assert (again.entry(VM), again.outgoing(9)) == (entry, outgoing)
    assert folded(again, [(Seq(3), an_entry())]) == []
    again.close()


def test_a_full_disk_changes_nothing_and_is_no_crash(journal: Journal) -> None:
    journal.fold([(Seq(1), an_entry())], NOON)
    before = journal.entry(VM)
    fill(journal._db, room=0)
    fact = booting()
    large = Write(FACT, said(fact)[1].event_id, b"x" * 100_000)
    with pytest.raises(Unavailable, match="full"):
        journal.report(fact, large, NOON)
    assert (journal.entry(VM), journal.outgoing(9)) == (before, ())
    fill(journal._db, room=1000)
    journal.report(fact, large, NOON)
    assert [out.write for out in journal.outgoing(9)] == [large]


def fill(db: sqlite3.Connection, room: int) -> None:
    """Let the disk have room for so many more pages."""
    used = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count = {used + room}")


def test_a_journal_that_another_process_holds_is_unavailable(journal: Journal, path: Path) -> None:
    journal._db.execute("PRAGMA busy_timeout = 10")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="locked"):
        journal.publish_later(said(booting())[1])
    other.execute("ROLLBACK")
    other.close()
    journal.publish_later(said(booting())[1])


def test_closing_waits_for_the_call_that_is_under_way(path: Path) -> None:
    """A daemon that is told to stop leaves its journal's thread where it stands."""
    for _ in range(CLOSINGS):
        opened = Journal(path)
        began = Event()

        def call(journal: Journal = opened, began: Event = began) -> None:
            began.set()
            with contextlib.suppress(sqlite3.ProgrammingError):
                while True:
                    journal.fold([(Seq(1), an_entry())], NOON)

        thread = Thread(target=call)
        thread.start()
        began.wait()
        opened.close()
        thread.join()


def test_what_a_fact_carries_and_means_is_remembered_with_it(journal: Journal) -> None:
    journal.fold([(Seq(1), an_entry())], NOON)
    journal.report(*said(with_disks(booting(), "data")))
    journal.report(*said(having_done(with_disks(running(), "data"), 1)))
    entry = journal.report(*said(having_done(with_disks(paused(PauseCause.IO_ERROR), "data"), 1)))
    assert entry is not None
    run = entry.run
    assert (run.disks, run.booted_at, run.up) == (("data",), NOON, True)
    assert [one.token for one in run.done] == [an_action(1, ActionVerb.RESET).token]
    assert (run.paused, run.paused_at, run.agent) == (PauseCause.IO_ERROR, NOON, True)


def test_a_report_about_a_vm_without_an_entry_is_published(journal: Journal) -> None:
    assert journal.report(*said(booting())) is None
    assert len(journal.outgoing(9)) == 1


def before_runs_were_kept(path: Path) -> None:
    """A journal as version 1 wrote it: a guest that was reported as running, and one that shall stop."""
    path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path, isolation_level=None)
    for statement in MIGRATIONS[0]:
        db.execute(statement)
    rows = [
        (an_entry(), f"{running().TYPE} {running().model_dump_json(include=OLD)}", None),
        (an_entry(Desired.STOPPED, vm=OTHER), None, NOON.isoformat()),
    ]
    for seq, (desired, reported, stop_by) in enumerate(rows, 1):
        text = desired.model_dump_json(include={"vm_id", "generation", "desired", "spec", "grace_s"})
        db.execute(
            "INSERT INTO vm VALUES (?, ?, ?, ?, NULL, 0)", (str(desired.vm_id), text, reported, stop_by)
        )
        db.execute("INSERT INTO folded VALUES (?, ?)", (str(desired.vm_id), seq))
    db.execute("PRAGMA user_version = 1")
    db.close()


OLD = {"vm_id", "host_id", "generation"}


def test_a_journal_of_version_1_opens_and_goes_on(path: Path) -> None:
    before_runs_were_kept(path)
    journal = Journal(path)
    entry, other = journal.entry(VM), journal.entry(OTHER)
    assert entry is not None
    assert other is not None
    assert (entry.desired, entry.reported, other.stop_by) == (an_entry(), running(), NOON)
    assert folded(journal, [(Seq(1), an_entry(Desired.ABSENT))]) == []
    stood_still = journal.report(*said(paused()))
    assert stood_still is not None
    assert stood_still.run.up, "it was running before it stood still"
    journal.close()
    again = Journal(path)
    assert again.entry(VM) == stood_still
    again.close()
