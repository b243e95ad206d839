"""The event log as services see it. `jetstream.py` is the real one, `memory.py` its twin."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from events.ids import Seq
from infra.runtime.errors import Unavailable

BATCH_MAX = 1000
"""Messages in one atomic batch: the server's own limit (NATS ADR-50)."""


class Conflict(Exception):
    """A guard did not hold: someone wrote in between. Nothing was stored; load and decide again."""


class LogFull(Unavailable):
    """The stream has no room (NATS error 10077). Nothing was stored; it goes on when there is room."""

    def __init__(self, why: str) -> None:
        super().__init__("event log", why)


class Corrupt(Exception):
    """The stream is not the one that this reader followed before: it ends earlier. Halt, loudly."""


@dataclass(frozen=True, slots=True)
class Write:
    """One message to store. Its id was drawn before the first try and stays the same for every retry."""

    subject: str
    event_id: UUID
    body: bytes


@dataclass(frozen=True, slots=True)
class Recorded:
    """One message as it is stored."""

    seq: Seq
    subject: str
    event_id: UUID | None
    """None where the writer sent no id, or one that is none."""
    body: bytes
    stored_at: datetime


Guards = Mapping[str, Seq]
"""Literal subject to the sequence of the last message on it that the decision saw; 0: none."""


def check_guards(writes: Sequence[Write], guards: Guards) -> None:
    """Refuse what could not be resolved after a lost answer, or not be carried; raises ValueError.

    A lost answer is resolved by reading what followed a guard on a written subject. A guard on a subject
    that is only read rides on a message that has no guard of its own.
    """
    written = {write.subject for write in writes}
    if not written & guards.keys() and (len(writes) > 1 or guards):
        raise ValueError("no written subject is guarded: a lost answer could not be resolved")
    if len(guards.keys() - written) > sum(write.subject not in guards for write in writes):
        raise ValueError("no message is left to carry the guard on a subject that is only read")


class Follower(Protocol):
    """A position in the log that moves on."""

    @property
    def position(self) -> Seq:
        """The last sequence that was handed out, or the one that it began after."""

    async def next(self, most: int, wait_s: float) -> Sequence[Recorded]:
        """Wait up to *wait_s* for messages and take up to *most*, in order, without a gap.

        After Unavailable call it again: it goes on where it was.
        """

    async def close(self) -> None:
        """Give up the position."""


class EventLog(Protocol):
    """One stream."""

    async def append(self, writes: Sequence[Write], guards: Guards) -> Seq:
        """Store all of *writes* or none, if every guard holds; give the last one's sequence.

        A guard may be on a subject that is only read. An unknown outcome is resolved by reading back
        before this returns. Raises Conflict, LogFull; Unavailable when the outcome stayed unknown: the
        same writes may then be appended again.
        """

    async def load(self, subject: str) -> Recorded | None:
        """Read the last message on a literal subject, from the leader; raises Unavailable."""

    async def last_per_subject(self, pattern: str) -> Sequence[Recorded]:
        """Read the last message of each subject that matches, in order of sequence; raises Unavailable."""

    async def last_seq(self) -> Seq:
        """Give the stream's last sequence; raises Unavailable."""

    def follow(self, after: Seq, patterns: Sequence[str]) -> Follower:
        """Read on from *after*; Corrupt is raised where the log ends before it."""


class Delivery(Protocol):
    """One message of a durable consumer, to be settled exactly once."""

    @property
    def recorded(self) -> Recorded:
        """The message."""

    async def ack(self, *, wait: bool = True) -> None:
        """Say that its effect is stored; raises Unavailable, after which it will come again.

        Without *wait* nobody tells whether that got through; it has where a later one of the same reader did.
        """

    async def retry(self, delay_s: float) -> None:
        """Ask for it again later."""


class Consumer(Protocol):
    """A durable position that the server keeps; it redelivers what was not acknowledged."""

    async def fetch(self, most: int, wait_s: float) -> Sequence[Delivery]:
        """Wait up to *wait_s* and take up to *most*; raises Unavailable."""

    async def close(self) -> None:
        """Take no more, until the next fetch; what was not handed out comes again, to whoever fetches.

        Raises Unavailable where that could not be told to the server; it may be called again.
        """

    async def reclaim(self) -> None:
        """Have what any reader took and did not settle come again now; raises Unavailable.

        For one who knows that the others are dead or idle. Who is not is done out of nothing: what it has in
        hand is handed out a second time, as when its time is up.
        """


class FactLog(Protocol):
    """The log as a host may use it: it writes onto subjects that are its own alone, and reads nothing."""

    async def publish(self, write: Write, expected: Seq | None) -> Seq:
        """Store *write*; give its sequence.

        *expected* is the last sequence on that subject that the writer knows of; None: none. Its guard only
        keeps a copy that was held up on its way from landing after later facts: where another sequence is
        there, the write is stored behind it, unless it is there already. It is stored twice where its answer
        was lost for longer than the server knows ids; it is never taken for stored when it is not.
        Raises Unavailable, LogFull.
        """


class Signals(Protocol):
    """Core subjects: delivered to whoever listens now, stored nowhere."""

    async def send(self, subject: str, body: bytes) -> None:
        """Send; losing it is no error."""

    async def listen(
        self, pattern: str, heard: Callable[[str, bytes], None]
    ) -> Callable[[], Awaitable[None]]:
        """Call *heard* with subject and body of each signal; give what ends it."""
