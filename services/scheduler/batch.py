"""Decisions that are stored together: each is made on what those before it will have left."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from events import codec, subjects
from events.envelope import Origin, Sealed
from events.ids import EventId, Seq
from infra.eventlog.port import BATCH_MAX, Write
from services.scheduler.core.decision import Change, Decision
from services.scheduler.memory import Memory

SOURCE = "roost/scheduler"


@dataclass(frozen=True)
class _Part:
    change: Change
    actor: str
    cause: UUID | None


class Batch:
    """All or none. Until it is kept or dropped, the memory shows it as if it were stored."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._parts: list[_Part] = []
        self._undo: list[Callable[[], None]] = []
        self.guards: dict[str, Seq] = {}
        self.decisions = 0

    @property
    def empty(self) -> bool:
        """Whether there is nothing to store."""
        return not self._parts

    def has_room(self, decision: Decision) -> bool:
        """Tell whether one append can take *decision*, too."""
        return len(self._parts) + len(decision.changes) <= BATCH_MAX

    def add(self, decision: Decision, actor: str, cause: UUID | None) -> None:
        """Take in one more, which was made with those before it in sight."""
        assert self.has_room(decision), f"a batch of more than {BATCH_MAX} events"
        for change in decision.changes:
            self._parts.append(_Part(change, actor, cause))
            subject = subjects.parse_event(change.subject)
            self._undo.append(self._memory.world.suppose(subject, change.event))
        # What was supposed keeps the sequence of what is stored: each guard is as its first reader saw it.
        self.guards = {**(decision.guards or {}), **self.guards}
        self.decisions += 1

    def writes(self, now: datetime, new_id: Callable[[], UUID]) -> list[Write]:
        """Give the messages to store."""
        return [_sealed(part, now, EventId(new_id())) for part in self._parts]

    def keep(self, last: Seq) -> list[tuple[Seq, Change]]:
        """Know all of it as stored, up to *last*."""
        first = last - len(self._parts) + 1
        stored = [(Seq(first + index), part.change) for index, part in enumerate(self._parts)]
        for seq, change in stored:
            self._memory.wrote(change.subject, seq, change.event)
        return stored

    def drop(self) -> None:
        """Forget all of it."""
        for undo in reversed(self._undo):
            undo()


def _sealed(part: _Part, now: datetime, event_id: EventId) -> Write:
    change = part.change
    origin = Origin(
        source=SOURCE,
        actor=part.actor,
        causation=change.operation or part.cause,
        correlation=change.operation,
    )
    sealed = Sealed(id=event_id, subject=change.subject, time=now, origin=origin, message=change.event)
    return Write(change.subject, event_id, codec.encode(sealed))
