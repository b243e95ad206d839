"""Whether a stream is whole: no sequence missing, no event id twice."""

from dataclasses import dataclass, field
from hashlib import sha256
from uuid import UUID

from events.ids import BEGINNING, Seq
from events.subjects import parse_event
from infra.eventlog.port import Recorded


@dataclass
class Wholeness:
    """One stream, read in order from its first message."""

    name: str
    last: Seq = BEGINNING
    count: int = 0
    repeated: int = 0
    """Facts that a host has stored again under their id: allowed (ADR 15), for losing one would not be."""
    ids: dict[UUID, tuple[Seq, bytes]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def take(self, recorded: Recorded) -> None:
        """Take in the next message."""
        if self.count and recorded.seq != self.last + 1:
            self.faults.append(f"{self.name}: between {self.last} and {recorded.seq} messages are missing")
        if recorded.event_id is not None:
            self._take_id(recorded, recorded.event_id)
        self.last, self.count = recorded.seq, self.count + 1

    def _take_id(self, recorded: Recorded, event_id: UUID) -> None:
        told = sha256(recorded.subject.encode() + b"\0" + recorded.body).digest()
        before, same = self.ids.setdefault(event_id, (recorded.seq, told))
        if before == recorded.seq:
            return
        if same == told and _by_a_host(recorded.subject):
            self.repeated += 1
        else:
            self.faults.append(f"{self.name}: {before} and {recorded.seq} have one id")

    def begins_at(self, first: Seq) -> None:
        """Say which message has to be the first one; a stream that forgets nothing begins at 1."""
        if self.count and self.last - self.count + 1 > first and not self.faults:
            self.faults.append(f"{self.name}: it begins at {self.last - self.count + 1}, not at {first}")


def _by_a_host(subject: str) -> bool:
    try:
        return parse_event(subject).host_id is not None
    except ValueError:
        return False
