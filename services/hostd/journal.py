"""The host's own memory: what it shall run, what it has said, and what it has yet to publish.

SQLite with a write-ahead log and full sync: what a call has returned is on disk. One thread, one file.

Two tables keep a row for ever. A `folded` row keeps a redelivery from bringing back a VM that is over, and no
acknowledgement makes it superfluous: a server that lost its power may deliver again what was acknowledged. A
`published` row guards the next fact on its subject. Both are bounded by what this host was ever told to run:
0.3 KB a VM (measured), so that 1,000 new VMs a day make 110 MB in a year.

A journal is lost with its disk, or removed because it cannot be used. The server does not deliver again
what was acknowledged, but for the last second before it was killed (docs/adr/0013), so that an empty journal
has no entry for the guests that run. They are left alone, and named once at the start; each comes back under
care with the next word about it, which is its whole entry. Nothing is started that runs, and nothing is
stopped that nobody asked to stop.

Never put back an older copy. What it holds of VMs that were started does no harm: a guest of a later
generation is left alone, and one that is gone is reported as lost in a generation that is over. But an entry
that had not led to a start when the copy was made would lead to one now, though its placement may have ended.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import get_args
from uuid import UUID

from events.desired import DesiredVm
from events.facts import VmFact
from events.ids import Seq, VmId
from infra.eventlog.port import Write
from infra.runtime.errors import Unavailable
from services.hostd.core.entry import Entry, Run, fold, noted

BUSY_TIMEOUT_S = 5.0
CHECKPOINT_PAGES = 64
"""After so many pages (256 KiB) the write-ahead log begins anew. On a full disk it never does: SQLite's own
4 MB could be the very room that is missing."""

MIGRATIONS = (
    (
        "CREATE TABLE IF NOT EXISTS folded (vm_id TEXT PRIMARY KEY, seq INTEGER NOT NULL)",
        """
        CREATE TABLE IF NOT EXISTS vm (
            vm_id TEXT PRIMARY KEY,
            desired TEXT NOT NULL,
            reported TEXT,
            stop_by TEXT,
            asked_at TEXT,
            forced INTEGER NOT NULL DEFAULT 0
        )""",
        """
        CREATE TABLE IF NOT EXISTS outbox (
            n INTEGER PRIMARY KEY AUTOINCREMENT,
            subject TEXT NOT NULL,
            event_id TEXT NOT NULL UNIQUE,
            body BLOB NOT NULL
        )""",
        "CREATE TABLE IF NOT EXISTS published (subject TEXT PRIMARY KEY, seq INTEGER NOT NULL)",
    ),
    ("ALTER TABLE vm ADD COLUMN run TEXT NOT NULL DEFAULT '{}'",),
)
"""The statements that lead from each version to the next; `PRAGMA user_version` counts those that were done.

Only ever add at the end. The first also meets the tables of journals from before versions were counted.
"""

PASSING = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
}
"""What a person or time mends while we wait: low bytes of SQLite's codes (sqlite.org/rescode.html)."""


class JournalUnusable(Exception):
    """The journal cannot be relied on: end before any guest is touched. The message says what to do."""


@dataclass(frozen=True)
class Outgoing:
    """A fact that waits to be published."""

    n: int
    write: Write
    expected: Seq | None
    """Our own last sequence on that subject; None before the first."""


class Journal:
    """Blocking calls, to be made on the journal's own worker.

    Each raises Unavailable for what passes (a full disk), and then has changed nothing; JournalUnusable else.
    """

    def __init__(self, path: Path) -> None:
        """Open the journal, or begin one where there is none; it is looked through before it is relied on."""
        self._path = path
        self._lock = Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise Unavailable("journal", str(err)) from err
        with self._translated():
            self._db = sqlite3.connect(
                path, timeout=BUSY_TIMEOUT_S, check_same_thread=False, isolation_level=None
            )
        with ExitStack() as undo:
            undo.callback(self._db.close)
            self._open()
            undo.pop_all()

    def close(self) -> None:
        """Close the file, after the call that is under way: SQLite would crash the process otherwise."""
        with self._lock:
            self._db.close()

    def fold(self, messages: Sequence[tuple[Seq, DesiredVm | None]], now: datetime) -> tuple[Entry, ...]:
        """Take in messages of the host's desired subject; give the entries that changed.

        The position is each VM's own: a message whose delivery was lost comes again after later ones of
        other VMs, and must not be taken for one that was folded. It is kept when the entry is forgotten, so
        that no redelivery brings back what is over. None: could not be read.
        """
        changed: dict[VmId, Entry] = {}
        with self._transaction() as db:
            for seq, desired in messages:
                if desired is None or seq <= self._folded(db, desired.vm_id):
                    continue
                query = "INSERT INTO folded VALUES (?, ?) ON CONFLICT DO UPDATE SET seq = excluded.seq"
                db.execute(query, (str(desired.vm_id), seq))
                entry = fold(self._entry(db, desired.vm_id), desired, now)
                if entry is not None:
                    self._put(db, entry)
                    changed[entry.desired.vm_id] = entry
        return tuple(changed.values())

    def entry(self, vm_id: VmId) -> Entry | None:
        """Give the entry of one VM."""
        with self._translated():
            return self._entry(self._db, vm_id)

    def vm_ids(self) -> tuple[VmId, ...]:
        """List the VMs that have an entry."""
        with self._translated():
            return tuple(
                VmId(UUID(row[0])) for row in self._db.execute("SELECT vm_id FROM vm ORDER BY vm_id")
            )

    def report(self, fact: VmFact, write: Write, now: datetime) -> Entry | None:
        """Write down that *fact* was seen and *write* to be published, in one transaction; give the entry."""
        with self._transaction() as db:
            entry = self._entry(db, fact.vm_id)
            if entry is not None and entry.desired.generation == fact.generation:
                entry = noted(entry, fact, now)
                self._put(db, entry)
            self._enqueue(db, write)
            return entry

    def publish_later(self, write: Write) -> None:
        """Write down what is to be published."""
        with self._transaction() as db:
            self._enqueue(db, write)

    def note(self, desired: DesiredVm, change: Callable[[Entry], Entry]) -> None:
        """Write down what is about to be done, unless a later generation has taken the entry's place."""
        with self._transaction() as db:
            entry = self._entry(db, desired.vm_id)
            if entry is not None and entry.desired.generation == desired.generation:
                self._put(db, change(entry))

    def forget(self, desired: DesiredVm) -> None:
        """Remove an entry, unless it has changed meanwhile."""
        with self._transaction() as db:
            entry = self._entry(db, desired.vm_id)
            if entry is not None and entry.desired == desired:
                db.execute("DELETE FROM vm WHERE vm_id = ?", (str(desired.vm_id),))

    def outgoing(self, most: int) -> tuple[Outgoing, ...]:
        """Take the *most* oldest of what waits to be published, and of those the first on each subject.

        One a subject: after a crash the server's last sequence then tells whether the one in doubt is there.
        """
        query = (
            "SELECT n, outbox.subject, event_id, body, published.seq FROM outbox "
            "LEFT JOIN published ON published.subject = outbox.subject ORDER BY n LIMIT ?"
        )
        first: dict[str, Outgoing] = {}
        with self._translated():
            for n, subject, event_id, body, seq in self._db.execute(query, (most,)):
                write = Write(subject, UUID(event_id), body)
                first.setdefault(subject, Outgoing(n, write, Seq(seq) if seq is not None else None))
        return tuple(first.values())

    def published(self, stored: Sequence[tuple[Outgoing, Seq]]) -> None:
        """Write down that each is in the log, and where."""
        with self._transaction() as db:
            for outgoing, seq in stored:
                db.execute("DELETE FROM outbox WHERE n = ?", (outgoing.n,))
                db.execute(
                    "INSERT INTO published VALUES (?, ?) ON CONFLICT DO UPDATE SET seq = excluded.seq",
                    (outgoing.write.subject, seq),
                )

    def _open(self) -> None:
        with self._translated():
            found = self._db.execute("PRAGMA user_version").fetchone()[0]
            if found > len(MIGRATIONS):
                raise JournalUnusable(
                    f"journal {self._path} is of version {found}, and this hostd reads none above "
                    f"{len(MIGRATIONS)}. Nothing was changed and no guest is touched: start the newer hostd."
                )
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
            wrong = self._db.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if wrong != "ok":
                raise self._unusable(wrong)
        for version in range(found, len(MIGRATIONS)):
            with self._transaction() as db:
                for statement in MIGRATIONS[version]:
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {version + 1}")
        for vm_id in self.vm_ids():
            self.entry(vm_id)

    def _unusable(self, why: object) -> JournalUnusable:
        return JournalUnusable(
            f"journal {self._path} cannot be used: {why}. No guest is touched from here on. Move it away "
            "with its -wal and -shm, and start again: guests that run are left alone until the next command "
            "for each. Do not put back an older copy."
        )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing."""
        with self._translated():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:  # a full disk ends some transactions by itself
                    self._db.execute("ROLLBACK")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Tell what passes from what does not; a wrong use of SQLite is neither, and a crash."""
        try:
            with self._lock:
                yield
        except (sqlite3.ProgrammingError, sqlite3.IntegrityError):
            raise
        except sqlite3.DatabaseError as err:
            if getattr(err, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF in PASSING:
                raise Unavailable("journal", str(err)) from err
            raise self._unusable(err) from err
        except (ValueError, KeyError) as err:
            raise self._unusable(err) from err

    def _folded(self, db: sqlite3.Connection, vm_id: VmId) -> int:
        row = db.execute("SELECT seq FROM folded WHERE vm_id = ?", (str(vm_id),)).fetchone()
        return int(row[0]) if row else 0

    def _entry(self, db: sqlite3.Connection, vm_id: VmId) -> Entry | None:
        query = "SELECT desired, reported, stop_by, asked_at, forced, run FROM vm WHERE vm_id = ?"
        row = db.execute(query, (str(vm_id),)).fetchone()
        if row is None:
            return None
        desired, reported, stop_by, asked_at, forced, run = row
        return Entry(
            DesiredVm.model_validate_json(desired),
            reported=_read_fact(reported),
            stop_by=datetime.fromisoformat(stop_by) if stop_by else None,
            asked_at=datetime.fromisoformat(asked_at) if asked_at else None,
            forced=bool(forced),
            run=Run.model_validate_json(run),
        )

    def _put(self, db: sqlite3.Connection, entry: Entry) -> None:
        db.execute(
            "INSERT OR REPLACE INTO vm VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                str(entry.desired.vm_id),
                entry.desired.model_dump_json(),
                _write_fact(entry.reported),
                entry.stop_by.isoformat() if entry.stop_by else None,
                entry.asked_at.isoformat() if entry.asked_at else None,
                int(entry.forced),
                entry.run.model_dump_json(exclude_defaults=True),
            ),
        )

    def _enqueue(self, db: sqlite3.Connection, write: Write) -> None:
        # The same write comes again where its first try was given up on and has come true since.
        db.execute(
            "INSERT INTO outbox (subject, event_id, body) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            (write.subject, str(write.event_id), write.body),
        )


def _write_fact(fact: VmFact | None) -> str | None:
    return f"{fact.TYPE} {fact.model_dump_json()}" if fact is not None else None


def _read_fact(text: str | None) -> VmFact | None:
    if text is None:
        return None
    name, _, body = text.partition(" ")
    kinds: dict[str, type[VmFact]] = {kind.TYPE: kind for kind in get_args(VmFact)}
    return kinds[name].model_validate_json(body)
