"""The host's own memory: what it shall run, what it has said, and what it has yet to publish.

SQLite with a write-ahead log and full sync: what a call has returned is on disk. One thread, one file.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import get_args
from uuid import UUID

from events.facts import VmFact
from events.ids import Seq, VmId
from events.values import DesiredVm
from infra.eventlog.port import Write
from infra.runtime.errors import Unavailable
from services.hostd.core.reconcile import Entry, fold

BUSY_TIMEOUT_S = 5.0

SCHEMA = """
CREATE TABLE IF NOT EXISTS folded (vm_id TEXT PRIMARY KEY, seq INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS vm (
    vm_id TEXT PRIMARY KEY,
    desired TEXT NOT NULL,
    reported TEXT,
    stop_by TEXT,
    asked_at TEXT,
    forced INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS outbox (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    subject TEXT NOT NULL,
    event_id TEXT NOT NULL UNIQUE,
    body BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS published (subject TEXT PRIMARY KEY, seq INTEGER NOT NULL);
"""


@dataclass(frozen=True)
class Outgoing:
    """A fact that waits to be published."""

    n: int
    write: Write
    expected: Seq | None
    """Our own last sequence on that subject; None before the first."""


class Journal:
    """Blocking calls, to be made on the journal's own worker; each raises Unavailable (full disk, say)."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_S, check_same_thread=False, isolation_level=None
        )
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def fold(self, messages: Sequence[tuple[Seq, DesiredVm | None]], now: datetime) -> tuple[VmId, ...]:
        """Take in messages of the host's desired subject; give the VMs that changed.

        The position is each VM's own: a message whose delivery was lost comes again after later ones of
        other VMs, and must not be taken for one that was folded. It is kept when the entry is forgotten, so
        that no redelivery brings back what is over. None: could not be read.
        """
        changed: dict[VmId, None] = {}
        with self._transaction() as db:
            for seq, desired in messages:
                if desired is None or seq <= self._folded(db, desired.vm_id):
                    continue
                query = "INSERT INTO folded VALUES (?, ?) ON CONFLICT DO UPDATE SET seq = excluded.seq"
                db.execute(query, (str(desired.vm_id), seq))
                entry = fold(self._entry(db, desired.vm_id), desired, now)
                if entry is not None:
                    self._put(db, entry)
                    changed[entry.desired.vm_id] = None
        return tuple(changed)

    def entry(self, vm_id: VmId) -> Entry | None:
        """Give the entry of one VM."""
        with _reading(self._db) as db:
            return self._entry(db, vm_id)

    def vm_ids(self) -> tuple[VmId, ...]:
        """List the VMs that have an entry."""
        with self._transaction() as db:
            return tuple(VmId(UUID(row[0])) for row in db.execute("SELECT vm_id FROM vm ORDER BY vm_id"))

    def report(self, fact: VmFact, write: Write) -> Entry | None:
        """Write down that *fact* was seen and *write* to be published, in one transaction; give the entry."""
        with self._transaction() as db:
            entry = self._entry(db, fact.vm_id)
            if entry is not None and entry.desired.generation == fact.generation:
                entry = replace(entry, reported=fact)
                self._put(db, entry)
            self._enqueue(db, write)
            return entry

    def publish_later(self, write: Write) -> None:
        """Write down what is to be published."""
        with self._transaction() as db:
            self._enqueue(db, write)

    def asked(self, desired: DesiredVm, at: datetime) -> None:
        """Write down that the guest was asked to shut down."""
        self._note(desired, lambda entry: replace(entry, asked_at=at))

    def forcing(self, desired: DesiredVm) -> None:
        """Write down, before it is done, that grace ran out."""
        self._note(desired, lambda entry: replace(entry, forced=True))

    def forget(self, desired: DesiredVm) -> None:
        """Remove an entry, unless it has changed meanwhile."""
        with self._transaction() as db:
            entry = self._entry(db, desired.vm_id)
            if entry is not None and entry.desired == desired:
                db.execute("DELETE FROM vm WHERE vm_id = ?", (str(desired.vm_id),))

    def outgoing(self, most: int) -> tuple[Outgoing, ...]:
        """List what waits to be published, the oldest first."""
        query = (
            "SELECT n, outbox.subject, event_id, body, published.seq FROM outbox "
            "LEFT JOIN published ON published.subject = outbox.subject ORDER BY n LIMIT ?"
        )
        with self._transaction() as db:
            return tuple(
                Outgoing(n, Write(subject, UUID(event_id), body), Seq(seq) if seq is not None else None)
                for n, subject, event_id, body, seq in db.execute(query, (most,))
            )

    def published(self, outgoing: Outgoing, seq: Seq) -> None:
        """Write down that it is in the log, at *seq*."""
        with self._transaction() as db:
            db.execute("DELETE FROM outbox WHERE n = ?", (outgoing.n,))
            db.execute(
                "INSERT INTO published VALUES (?, ?) ON CONFLICT DO UPDATE SET seq = excluded.seq",
                (outgoing.write.subject, seq),
            )

    def _note(self, desired: DesiredVm, change: Callable[[Entry], Entry]) -> None:
        """Change an entry, unless a later generation has taken its place meanwhile."""
        with self._transaction() as db:
            entry = self._entry(db, desired.vm_id)
            if entry is not None and entry.desired.generation == desired.generation:
                self._put(db, change(entry))

    def _transaction(self) -> "_Transaction":
        return _Transaction(self._db)

    def _folded(self, db: sqlite3.Connection, vm_id: VmId) -> int:
        row = db.execute("SELECT seq FROM folded WHERE vm_id = ?", (str(vm_id),)).fetchone()
        return int(row[0]) if row else 0

    def _entry(self, db: sqlite3.Connection, vm_id: VmId) -> Entry | None:
        query = "SELECT desired, reported, stop_by, asked_at, forced FROM vm WHERE vm_id = ?"
        row = db.execute(query, (str(vm_id),)).fetchone()
        if row is None:
            return None
        desired, reported, stop_by, asked_at, forced = row
        return Entry(
            DesiredVm.model_validate_json(desired),
            reported=_read_fact(reported),
            stop_by=datetime.fromisoformat(stop_by) if stop_by else None,
            asked_at=datetime.fromisoformat(asked_at) if asked_at else None,
            forced=bool(forced),
        )

    def _put(self, db: sqlite3.Connection, entry: Entry) -> None:
        db.execute(
            "INSERT OR REPLACE INTO vm VALUES (?, ?, ?, ?, ?, ?)",
            (
                str(entry.desired.vm_id),
                entry.desired.model_dump_json(),
                _write_fact(entry.reported),
                entry.stop_by.isoformat() if entry.stop_by else None,
                entry.asked_at.isoformat() if entry.asked_at else None,
                int(entry.forced),
            ),
        )

    def _enqueue(self, db: sqlite3.Connection, write: Write) -> None:
        # The same write comes again where its first try was given up on and has come true since.
        db.execute(
            "INSERT INTO outbox (subject, event_id, body) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            (write.subject, str(write.event_id), write.body),
        )


class _Transaction(AbstractContextManager[sqlite3.Connection]):
    """All or nothing; what SQLite cannot do just now becomes Unavailable."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> sqlite3.Connection:
        try:
            self._db.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as err:
            raise Unavailable("journal", str(err)) from err
        return self._db

    def __exit__(self, kind: object, err: BaseException | None, trace: object) -> None:
        try:
            if err is None:
                self._db.execute("COMMIT")
        except sqlite3.OperationalError as failed:
            err = failed
        if self._db.in_transaction:  # a full disk ends some transactions by itself
            self._db.execute("ROLLBACK")
        if isinstance(err, sqlite3.OperationalError):
            raise Unavailable("journal", str(err)) from err


@contextmanager
def _reading(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Read one thing: a single statement needs no transaction of its own."""
    try:
        yield db
    except sqlite3.OperationalError as err:
        raise Unavailable("journal", str(err)) from err


def _write_fact(fact: VmFact | None) -> str | None:
    return f"{fact.TYPE} {fact.model_dump_json()}" if fact is not None else None


def _read_fact(text: str | None) -> VmFact | None:
    if text is None:
        return None
    name, _, body = text.partition(" ")
    kinds: dict[str, type[VmFact]] = {kind.TYPE: kind for kind in get_args(VmFact)}
    return kinds[name].model_validate_json(body)
