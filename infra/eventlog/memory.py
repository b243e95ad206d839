"""The event log's twin in memory: held to the same contract suite, with faults on demand."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum

from events.ids import Seq
from infra.eventlog.port import (
    BATCH_MAX,
    Conflict,
    Corrupt,
    Delivery,
    Guards,
    LogFull,
    Recorded,
    Write,
    check_guards,
)
from infra.runtime.errors import Unavailable

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


class Fault(Enum):
    """What can go wrong with the next append, as its caller sees it.

    What JetStream resolves by itself (a duplicate, "in flight", no leader for a moment) is none of it.
    """

    ANSWER_LOST = "stored, but the caller hears Unavailable"
    NOT_STORED = "not stored, and the caller hears Unavailable"
    LATE = "the caller hears Unavailable; it lands when the next append comes, if its guards hold then"
    FULL = "the stream has no room"


@dataclass
class MemoryStream:
    """What is stored, shared by every log, consumer and follower on it."""

    messages: list[Recorded] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    faults: deque[Fault] = field(default_factory=deque)
    late: deque[tuple[Sequence[Write], Guards]] = field(default_factory=deque)

    def on(self, pattern: str) -> list[Recorded]:
        """List the messages whose subject matches."""
        return [message for message in self.messages if matches(pattern, message.subject)]


def matches(pattern: str, subject: str) -> bool:
    """Tell whether *subject* matches a NATS *pattern* with `*` and `>`."""
    wanted, found = pattern.split("."), subject.split(".")
    for index, part in enumerate(wanted):
        if part == ">":
            return len(found) > index
        if index >= len(found) or part not in {"*", found[index]}:
            return False
    return len(wanted) == len(found)


class MemoryLog:
    """One stream, as `port.EventLog` and `port.FactLog` describe it."""

    def __init__(self, stream: MemoryStream) -> None:
        self._stream = stream

    async def append(self, writes: Sequence[Write], guards: Guards) -> Seq:
        if not 0 < len(writes) <= BATCH_MAX:
            raise ValueError(f"{len(writes)} messages in one append; 1 to {BATCH_MAX} are possible")
        check_guards(writes, guards)
        await self._land_late()
        fault = self._stream.faults.popleft() if self._stream.faults else None
        if fault is Fault.FULL:
            raise LogFull("stream memory: maximum bytes exceeded (10077)")
        if fault is Fault.NOT_STORED:
            raise Unavailable("event log", "not stored")
        if fault is Fault.LATE:
            self._stream.late.append((writes, guards))
            raise Unavailable("event log", "no answer in time")
        seq = await self._commit(writes, guards)
        if fault is Fault.ANSWER_LOST:
            raise Unavailable("event log", "the answer was lost")
        return seq

    async def publish(self, write: Write, expected: Seq | None) -> Seq:  # noqa: ARG002 - it looks
        await self._land_late()
        last = self._last(write.subject)
        return await self.append([write], {write.subject: last.seq if last else Seq(0)})

    async def load(self, subject: str) -> Recorded | None:
        return self._last(subject)

    async def last_per_subject(self, pattern: str) -> Sequence[Recorded]:
        last = {message.subject: message for message in self._stream.on(pattern)}
        return sorted(last.values(), key=lambda message: message.seq)

    async def last_seq(self) -> Seq:
        return self._stream.messages[-1].seq if self._stream.messages else Seq(0)

    def follow(self, after: Seq, patterns: Sequence[str]) -> "MemoryFollower":
        return MemoryFollower(self._stream, after, patterns)

    async def _land_late(self) -> None:
        while self._stream.late:
            try:
                await self._commit(*self._stream.late.popleft())
            except Conflict:
                pass  # Nobody waits for the answer any more.

    async def _commit(self, writes: Sequence[Write], guards: Guards) -> Seq:
        landed = self._landed(writes)
        if landed is not None:
            return landed
        for subject, expected in guards.items():
            last = self._last(subject)
            if (last.seq if last else 0) != expected:
                raise Conflict(f"wrong last sequence on {subject}")
        for write in writes:
            self._store(write)
        async with self._stream.changed:
            self._stream.changed.notify_all()
        return self._stream.messages[-1].seq

    def _last(self, subject: str) -> Recorded | None:
        return next((m for m in reversed(self._stream.messages) if m.subject == subject), None)

    def _landed(self, writes: Sequence[Write]) -> Seq | None:
        ids = {message.event_id: message for message in self._stream.messages}
        found = [ids.get(write.event_id) for write in writes]
        if any(one is not None and one.subject != w.subject for one, w in zip(found, writes, strict=True)):
            raise Conflict("the event id was used by someone else")
        return found[-1].seq if found[-1] is not None else None

    def _store(self, write: Write) -> None:
        seq = Seq(len(self._stream.messages) + 1)
        at = EPOCH + timedelta(milliseconds=seq)
        self._stream.messages.append(Recorded(seq, write.subject, write.event_id, write.body, at))


class MemoryFollower:
    """A position in a memory stream."""

    def __init__(self, stream: MemoryStream, after: Seq, patterns: Sequence[str]) -> None:
        self._stream = stream
        self._position = after
        self._patterns = patterns

    @property
    def position(self) -> Seq:
        return self._position

    async def next(self, most: int, wait_s: float) -> Sequence[Recorded]:
        if len(self._stream.messages) < self._position:
            raise Corrupt(
                f"the log ends at {len(self._stream.messages)}, this reader was at {self._position}"
            )
        async with self._stream.changed:
            try:
                async with asyncio.timeout(wait_s):
                    await self._stream.changed.wait_for(lambda: bool(self._waiting()))
            except TimeoutError:
                return []
        taken = self._waiting()[:most]
        self._position = taken[-1].seq
        return taken

    async def close(self) -> None:
        """Nothing is held."""

    def _waiting(self) -> list[Recorded]:
        rest = self._stream.messages[self._position :]
        return [m for m in rest if any(matches(pattern, m.subject) for pattern in self._patterns)]


class MemoryDelivery:
    """One message of a memory consumer."""

    def __init__(self, consumer: "MemoryConsumer", recorded: Recorded) -> None:
        self._consumer = consumer
        self.recorded = recorded

    async def ack(self, *, wait: bool = True) -> None:  # noqa: ARG002 - nothing is lost on the way to the twin
        self._consumer.under_way.discard(self.recorded.seq)

    async def retry(self, delay_s: float) -> None:  # noqa: ARG002 - the twin has no clock: after one turn
        await asyncio.sleep(0)
        await self._consumer.redeliver(self.recorded.seq)


class MemoryConsumer:
    """A durable position on a memory stream, as `port.Consumer` describes it."""

    def __init__(self, stream: MemoryStream, pattern: str) -> None:
        self._stream = stream
        self._pattern = pattern
        self._position = 0
        self._again: deque[int] = deque()
        self.under_way: set[int] = set()

    async def redeliver(self, seq: int) -> None:
        """Hand out *seq* again, as the server does after a nak or when an ack did not come in time."""
        async with self._stream.changed:
            self._again.append(seq)
            self._stream.changed.notify_all()

    async def fetch(self, most: int, wait_s: float) -> Sequence[Delivery]:
        async with self._stream.changed:
            try:
                async with asyncio.timeout(wait_s):
                    await self._stream.changed.wait_for(lambda: bool(self._again or self._fresh()))
            except TimeoutError:
                return []
        taken: list[Delivery] = []
        while len(taken) < most and (self._again or self._fresh()):
            message = self._stream.messages[self._again.popleft() - 1] if self._again else self._fresh()[0]
            self._position = max(self._position, message.seq)
            self.under_way.add(message.seq)
            taken.append(MemoryDelivery(self, message))
        return taken

    async def close(self) -> None:
        """Forget what is under way: it comes again to the next reader."""
        self._again.extend(sorted(self.under_way))

    async def reclaim(self) -> None:
        for seq in sorted(self.under_way - set(self._again)):
            await self.redeliver(seq)

    def _fresh(self) -> list[Recorded]:
        rest = self._stream.messages[self._position :]
        return [message for message in rest if matches(self._pattern, message.subject)]


class MemorySignals:
    """Core subjects in memory."""

    def __init__(self) -> None:
        self._listeners: list[tuple[str, Callable[[str, bytes], None]]] = []

    async def send(self, subject: str, body: bytes) -> None:
        for pattern, heard in list(self._listeners):
            if matches(pattern, subject):
                heard(subject, body)

    async def listen(
        self, pattern: str, heard: Callable[[str, bytes], None]
    ) -> Callable[[], Awaitable[None]]:
        listener = (pattern, heard)
        self._listeners.append(listener)

        async def end() -> None:
            self._listeners.remove(listener)

        return end
