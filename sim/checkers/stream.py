"""Whether a stream is whole: no sequence missing, no event id twice."""

from dataclasses import dataclass, field
from uuid import UUID

from events.ids import BEGINNING, Seq
from infra.eventlog.port import Recorded


@dataclass
class Wholeness:
    """One stream, read in order from its first message."""

    name: str
    last: Seq = BEGINNING
    count: int = 0
    ids: dict[UUID, Seq] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def take(self, recorded: Recorded) -> None:
        """Take in the next message."""
        if self.count and recorded.seq != self.last + 1:
            self.faults.append(f"{self.name}: between {self.last} and {recorded.seq} messages are missing")
        if recorded.event_id is not None:
            before = self.ids.setdefault(recorded.event_id, recorded.seq)
            if before != recorded.seq:
                self.faults.append(f"{self.name}: {before} and {recorded.seq} have one id")
        self.last, self.count = recorded.seq, self.count + 1

    def begins_at(self, first: Seq) -> None:
        """Say which message has to be the first one; a stream that forgets nothing begins at 1."""
        if self.count and self.last - self.count + 1 > first and not self.faults:
            self.faults.append(f"{self.name}: it begins at {self.last - self.count + 1}, not at {first}")
