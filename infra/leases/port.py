"""Leases as their holders and watchers see them. `jetstream.py` is the real thing, `memory.py` its twin.

A lease is one subject, and what holds is the last message on it: whoever writes names the message that it has
seen last as its guard, so of two that want it one has it. `service.py` makes of that a lease of a service.
"""

from typing import Protocol

from events.ids import Seq
from infra.eventlog.port import Recorded, Write


class Leases(Protocol):
    """The last word on each subject. Both calls are one try, with one bound on the wait."""

    async def look(self, subject: str) -> Recorded | None:
        """Read the last message on *subject*, from the leader; raises Unavailable."""

    async def say(self, write: Write, guard: Seq) -> Seq:
        """Store *write* if the last message on its subject is still *guard* (0: none); give its sequence.

        Each try has an id of its own. Raises Conflict, where most likely another was there first, and
        Unavailable, where nobody knows. In both cases `look` alone tells, by the id, whether it was stored;
        after Unavailable it may yet be stored later, for as long as its guard holds.
        """
