"""The twin of leases in memory: held to the same contract suite, with faults on demand."""

from collections import deque
from dataclasses import dataclass, field
from enum import Enum

from events.ids import BEGINNING, Seq
from infra.eventlog.memory import EPOCH
from infra.eventlog.port import Conflict, Recorded, Write
from infra.runtime.errors import Unavailable


class Fault(Enum):
    """What can go wrong with the next word, as whoever says it sees it."""

    ANSWER_LOST = "stored, but the caller hears Unavailable"
    NOT_STORED = "not stored, and the caller hears Unavailable"
    LATE = "the caller hears Unavailable; it is stored before the next call, if its guard holds then"
    CONFLICT = "not stored, and the caller hears Conflict, although nothing came first: a leader was frozen"


@dataclass
class MemoryLeases:
    """As `port.Leases` describes it; shared by all who hold and watch."""

    faults: deque[Fault] = field(default_factory=deque)
    away: bool = False
    """Whether nobody answers at all."""
    _last: dict[str, Recorded] = field(default_factory=dict)
    _late: deque[tuple[Write, Seq]] = field(default_factory=deque)
    _seq: Seq = BEGINNING

    async def look(self, subject: str) -> Recorded | None:
        self._answer()
        return self._last.get(subject)

    async def say(self, write: Write, guard: Seq) -> Seq:
        self._answer()
        fault = self.faults.popleft() if self.faults else None
        match fault:
            case Fault.CONFLICT:
                raise Conflict("the answer of a leader that was frozen")
            case Fault.LATE:
                self._late.append((write, guard))
                raise Unavailable("leases", "no answer in time")
            case Fault.NOT_STORED:
                raise Unavailable("leases", "not stored")
            case Fault.ANSWER_LOST:
                self._store(write, guard)
                raise Unavailable("leases", "the answer was lost")
            case None:
                return self._store(write, guard)

    def _answer(self) -> None:
        if self.away:
            raise Unavailable("leases", "not connected")
        while self._late:
            try:
                self._store(*self._late.popleft())
            except Conflict:
                pass  # Nobody waits for the answer any more.

    def _store(self, write: Write, guard: Seq) -> Seq:
        last = self._last.get(write.subject)
        if (last.seq if last is not None else BEGINNING) != guard:
            raise Conflict(f"wrong last sequence on {write.subject}")
        self._seq = Seq(self._seq + 1)
        self._last[write.subject] = Recorded(self._seq, write.subject, write.event_id, write.body, EPOCH)
        return self._seq
