"""The journal on a disk that is full, torn or damaged: nothing returned is lost, nothing half done."""

import resource
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from events import subjects
from events.ids import Seq
from events.values import Desired
from infra.runtime.errors import Unavailable
from services.hostd.core.entry import forcing
from services.hostd.journal import MIGRATIONS, Journal, JournalUnusable
from tests.support.builders import HOST, NOON, VM, a_write, an_entry, booting, running, vm_id

OTHER = vm_id(5)
FACT = subjects.vm_fact(VM, HOST)
TABLES = (
    "SELECT 'folded', * FROM folded ORDER BY vm_id",
    "SELECT 'vm', * FROM vm ORDER BY vm_id",
    "SELECT 'outbox', * FROM outbox ORDER BY n",
    "SELECT 'published', * FROM published ORDER BY subject",
)
PAGE = 4096
FRAME = 24 + PAGE
"""One page in the write-ahead log with its header (sqlite.org/fileformat2.html#walformat)."""
TEARS = 150
DAMAGE = b"\xff" * 16
DAMAGE_EVERY = 112

Call = Callable[[Journal], object]
CALLS: dict[str, Call] = {
    "fold": lambda journal: journal.fold([(Seq(3), an_entry(vm=OTHER))], NOON),
    "report": lambda journal: journal.report(running(), a_write(FACT, running()), NOON),
    "publish_later": lambda journal: journal.publish_later(a_write(FACT, running())),
    "note": lambda journal: journal.note(an_entry(Desired.STOPPED), forcing),
    "published": lambda journal: journal.published([(one, Seq(7)) for one in journal.outgoing(9)]),
    "forget": lambda journal: journal.forget(an_entry(Desired.STOPPED)),
}
"""Every call that writes, in an order in which each has something to do."""


def test_every_call_that_writes_is_tried() -> None:
    reads = {"entry", "vm_ids", "outgoing", "close"}
    assert {name for name in vars(Journal) if not name.startswith("_")} == CALLS.keys() | reads


def begin(path: Path) -> Journal:
    """A journal of a VM that shall stop and has one fact to publish."""
    journal = Journal(path)
    journal.fold([(Seq(1), an_entry(Desired.STOPPED))], NOON)
    journal.report(booting(), a_write(FACT, booting()), NOON)
    return journal


def rows(path: Path) -> list[tuple[object, ...]]:
    """Read all that the journal holds, as anyone can who has the file."""
    db = sqlite3.connect(path)
    found = [row for query in TABLES for row in db.execute(query)]
    db.close()
    return found


@contextmanager
def no_file_may_grow_beyond(size: int) -> Iterator[None]:
    """Let the kernel refuse what is written behind *size*; nothing else of this process writes meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_could_not_write_changed_nothing_and_works_when_it_can(name: str, tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    journal, call, wal = begin(path), CALLS[name], Path(f"{path}-wal")
    before = rows(path)
    for room in (0, FRAME - 1):
        with no_file_may_grow_beyond(wal.stat().st_size + room), pytest.raises(Unavailable):
            call(journal)
        assert rows(path) == before
    call(journal)
    assert rows(path) != before
    after = rows(path)
    journal.close()
    Journal(path).close()
    assert rows(path) == after


@pytest.mark.parametrize("name", ["fold", "report", "publish_later"])
def test_a_call_that_needs_a_page_finds_the_disk_full_and_changed_nothing(name: str, tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    journal = begin(path)
    used = journal._db.execute("PRAGMA page_count").fetchone()[0]
    journal._db.execute(f"PRAGMA max_page_count = {used}")
    grow: dict[str, Callable[[int], object]] = {
        "fold": lambda n: journal.fold([(Seq(n), an_entry(vm=vm_id(n)))], NOON),
        "report": lambda _: journal.report(running(), a_write(FACT, running()), NOON),
        "publish_later": lambda _: journal.publish_later(a_write(FACT, running())),
    }
    seen: list[list[tuple[object, ...]]] = []

    def until_it_is_full() -> None:
        for number in range(10, 200):
            seen.append(rows(path))
            grow[name](number)

    with pytest.raises(Unavailable, match="full"):
        until_it_is_full()
    assert rows(path) == seen[-1]
    journal._db.execute(f"PRAGMA max_page_count = {used + 9}")
    grow[name](300)
    assert rows(path) != seen[-1]
    journal.close()


def test_a_log_torn_at_any_byte_holds_all_that_had_been_returned_until_there(tmp_path: Path) -> None:
    path, wal = tmp_path / "journal.sqlite", tmp_path / "journal.sqlite-wal"
    journal = Journal(path)
    states, sizes = [rows(path)], [0]
    calls = (lambda one: one.fold([(Seq(1), an_entry(Desired.STOPPED))], NOON), *CALLS.values())
    for call in calls * 2:
        call(journal)
        states.append(rows(path))
        sizes.append(wal.stat().st_size)
    whole, random = wal.read_bytes(), Random(1)  # noqa: S311 - the same tears in every run
    cuts = {0, 1, 31, 32, 33, len(whole), *(size + off for size in sizes[1:] for off in (-1, 0))}
    cuts |= {random.randrange(len(whole)) for _ in range(TEARS)}
    for cut in sorted(cuts):
        for tail in (b"", random.randbytes(min(4096, len(whole) - cut))):
            torn = tmp_path / "torn"
            torn.mkdir()
            shutil.copy(path, torn / path.name)
            (torn / wal.name).write_bytes(whole[:cut] + tail)
            Journal(torn / path.name).close()
            found = rows(torn / path.name)
            returned = max(number for number, size in enumerate(sizes) if size <= cut)
            assert found in states[returned:], f"cut at {cut} of {len(whole)} bytes, {len(tail)} of a tail"
            shutil.rmtree(torn)
    journal.close()


def test_damage_anywhere_is_named_or_harmless(tmp_path: Path) -> None:
    """SQLite keeps no checksums: what is wrong within a value and still of its form cannot be told."""
    path = tmp_path / "journal.sqlite"
    begin(path).close()
    whole, refusals = path.read_bytes(), list[str]()
    for at in range(0, len(whole), DAMAGE_EVERY):
        path.write_bytes(whole[:at] + DAMAGE + whole[at + len(DAMAGE) :])
        try:
            Journal(path).close()
        except JournalUnusable as err:
            refusals.append(str(err))
    assert refusals
    assert all(str(path) in said and "Move it away" in said for said in refusals)


def test_a_page_that_is_gone_is_missed_although_every_entry_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    journal = begin(path)
    for _ in range(30):
        journal.publish_later(a_write(FACT, running()))
    journal.close()
    whole = path.read_bytes()
    for at in range(PAGE, len(whole), PAGE):
        path.write_bytes(whole[:at] + bytes(PAGE) + whole[at + PAGE :])
        with pytest.raises(JournalUnusable, match=str(path)):
            Journal(path)


@pytest.mark.parametrize("size", [99, 100, PAGE, 2 * PAGE])
def test_a_file_that_was_cut_off_is_refused(size: int, tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    begin(path).close()
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(JournalUnusable, match=str(path)):
        Journal(path)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE vm SET desired = '{}'",
        "UPDATE vm SET desired = CAST(X'ff80' AS TEXT)",
        "UPDATE vm SET reported = 'vm.unheard_of {}'",
        "UPDATE vm SET stop_by = 'noon'",
        "UPDATE vm SET run = ''",
        'UPDATE vm SET run = \'{"resumes": "many"}\'',
        "UPDATE vm SET vm_id = 'nobody'",
        "DROP TABLE vm",
    ],
)
def test_an_entry_that_cannot_be_read_is_found_before_anything_is_done(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    begin(path).close()
    db = sqlite3.connect(path, isolation_level=None)
    db.execute(damage)
    db.close()
    with pytest.raises(JournalUnusable, match=str(path)):
        Journal(path)


def test_a_journal_of_a_newer_version_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    begin(path).close()
    db = sqlite3.connect(path, isolation_level=None)
    db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    db.close()
    before = path.read_bytes()
    with pytest.raises(JournalUnusable, match=f"{path} is of version {len(MIGRATIONS) + 1}.*newer hostd"):
        Journal(path)
    assert path.read_bytes() == before


def test_a_journal_from_before_versions_were_counted_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    begin(path).close()
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("ALTER TABLE vm DROP COLUMN run")
    db.execute("PRAGMA user_version = 0")
    db.close()
    before = rows(path)
    Journal(path).close()
    assert rows(path) == [(*row, "{}") if row[0] == "vm" else row for row in before]
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    db.close()


def test_what_is_kept_for_ever_is_small(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    Journal(path).close()
    count, empty = 5000, path.stat().st_size
    db = sqlite3.connect(path)
    for number in range(count):
        vm = vm_id(number)
        db.execute("INSERT INTO folded VALUES (?, ?)", (str(vm), 10**9 + number))
        db.execute("INSERT INTO published VALUES (?, ?)", (subjects.vm_fact(vm, HOST), 10**9 + number))
    db.commit()
    db.close()
    assert (path.stat().st_size - empty) / count < 400
