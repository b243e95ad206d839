"""The host's memory on a real file: nothing is folded twice, nothing is lost, nothing is half done."""

import contextlib
import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread

import pytest

from events import subjects
from events.facts import VmFact
from events.ids import Seq
from events.values import Desired
from infra.eventlog.port import Write
from infra.runtime.errors import Unavailable
from services.hostd.journal import Journal
from tests.support.builders import HOST, NOON, VM, a_write, an_entry, booting, running, vm_id

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


def said(fact: VmFact) -> tuple[VmFact, Write]:
    return fact, a_write(FACT, fact)


def test_a_redelivery_is_folded_once(journal: Journal) -> None:
    stop = an_entry(Desired.STOPPED, grace_s=10)
    assert journal.fold([(Seq(1), an_entry()), (Seq(2), stop)], NOON) == (VM,)
    before = journal.entry(VM)
    assert journal.fold([(Seq(1), an_entry()), (Seq(2), stop)], NOON + timedelta(seconds=9)) == ()
    assert journal.entry(VM) == before
    assert before is not None
    assert before.stop_by == NOON + timedelta(seconds=10)


def test_a_message_whose_first_delivery_was_lost_is_folded_after_later_ones(journal: Journal) -> None:
    journal.fold([(Seq(2), an_entry(vm=OTHER))], NOON)
    assert journal.fold([(Seq(1), an_entry())], NOON) == (VM,)


def test_what_is_forgotten_is_not_brought_back_by_a_redelivery(journal: Journal) -> None:
    gone = an_entry(Desired.ABSENT)
    journal.fold([(Seq(1), an_entry()), (Seq(2), gone)], NOON)
    journal.forget(gone)
    assert journal.vm_ids() == ()
    assert journal.fold([(Seq(1), an_entry()), (Seq(2), gone)], NOON) == ()
    assert journal.entry(VM) is None


def test_what_could_not_be_read_changes_nothing_and_stops_nothing(journal: Journal) -> None:
    assert journal.fold([(Seq(1), None), (Seq(2), an_entry())], NOON) == (VM,)


def test_an_entry_that_changed_meanwhile_is_not_forgotten(journal: Journal) -> None:
    journal.fold([(Seq(1), an_entry(Desired.ABSENT)), (Seq(2), an_entry(generation=2))], NOON)
    journal.forget(an_entry(Desired.ABSENT))
    assert journal.vm_ids() == (VM,)


def test_notes_about_a_generation_that_is_over_are_dropped(journal: Journal) -> None:
    journal.fold([(Seq(1), an_entry(generation=2))], NOON)
    journal.asked(an_entry(generation=1), NOON)
    journal.forcing(an_entry(generation=1))
    entry = journal.entry(VM)
    assert entry is not None
    assert (entry.asked_at, entry.forced) == (None, False)


def test_a_report_is_remembered_and_waits_to_be_published(journal: Journal) -> None:
    journal.fold([(Seq(1), an_entry())], NOON)
    fact, write = said(booting())
    journal.report(fact, write)
    entry = journal.entry(VM)
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
    fact, write = said(booting())
    journal.report(fact, write)
    journal.report(fact, write)
    assert len(journal.outgoing(9)) == 1


def test_everything_is_there_after_a_reopening(journal: Journal, path: Path) -> None:
    journal.fold([(Seq(3), an_entry(Desired.STOPPED, grace_s=5))], NOON)
    journal.report(*said(booting()))
    journal.asked(an_entry(), NOON)
    journal.forcing(an_entry())
    entry, outgoing = journal.entry(VM), journal.outgoing(9)
    journal.close()
    again = Journal(path)
    assert (again.entry(VM), again.outgoing(9)) == (entry, outgoing)
    assert again.fold([(Seq(3), an_entry())], NOON) == ()
    again.close()


def test_a_full_disk_changes_nothing_and_is_no_crash(journal: Journal) -> None:
    journal.fold([(Seq(1), an_entry())], NOON)
    before = journal.entry(VM)
    fill(journal._db, room=0)
    fact = booting()
    large = Write(FACT, said(fact)[1].event_id, b"x" * 100_000)
    with pytest.raises(Unavailable, match="full"):
        journal.report(fact, large)
    assert (journal.entry(VM), journal.outgoing(9)) == (before, ())
    fill(journal._db, room=1000)
    journal.report(fact, large)
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
