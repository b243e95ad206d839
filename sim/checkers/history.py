"""Whether the history in the tables is the log: every event, in its place, byte by byte."""

from collections.abc import AsyncIterable
from dataclasses import dataclass, field

from events.ids import Seq


@dataclass(frozen=True)
class Kept:
    """One event as it lies in the log, or in its table."""

    seq: Seq
    subject: str
    raw: bytes


@dataclass
class History:
    """Two sequences in order, walked side by side."""

    table: AsyncIterable[Kept]
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rows = aiter(self.table)
        self._next: Kept | None = None

    async def compare(self, logged: Kept) -> None:
        """Compare the log's next event."""
        await self._surplus(logged.seq)
        found = self._next
        if found is None or found.seq > logged.seq:
            self.faults.append(f"event {logged.seq} on {logged.subject} is not in the table")
            return
        self._next = None
        if found != logged:
            self.faults.append(f"event {logged.seq} on {logged.subject} is another one in the table")

    async def end(self) -> None:
        """Say that the log has no more up to where the table goes."""
        await self._surplus(None)

    async def _surplus(self, before: Seq | None) -> None:
        """Name what the table has before the log's next event (None: to its end) and the log has not."""
        while True:
            self._next = self._next or await anext(self._rows, None)
            if self._next is None or (before is not None and self._next.seq >= before):
                return
            self.faults.append(f"the table has an event {self._next.seq}, the log has not")
            self._next = None
