"""Read a log as a checker wants it: from the beginning, in order, to where it ended when it was asked."""

import asyncio
from collections.abc import AsyncIterator

from events import subjects
from events.codec import Undecodable, decode
from events.envelope import Message
from events.ids import Seq
from events.places import in_place
from infra.eventlog.port import EventLog, Recorded
from infra.runtime.errors import Unavailable
from sim.checkers.ledger import Ledger

READ_MAX, WAIT_S, SILENT_MAX = 1000, 5.0, 3


async def recorded_of(log: EventLog, pattern: str, *, forgets: bool = False) -> AsyncIterator[Recorded]:
    """Give every message of a stream, up to the one that is its last now; raises Unavailable.

    *forgets*: of a stream that does, its last messages may be gone.
    """
    last, silent = await log.last_seq(), 0
    follower = log.follow(Seq(0), [pattern])
    try:
        while follower.position < last:
            messages = await follower.next(READ_MAX, WAIT_S)
            silent = 0 if messages else silent + 1
            if silent == SILENT_MAX:
                if forgets:
                    return  # What would follow is gone: CMD keeps its messages for a time only.
                why = f"{pattern} ends at {last}, and nothing came after {follower.position}"
                raise Unavailable("event log", why)
            for recorded in messages:
                await asyncio.sleep(0)  # A checker takes its time: whoever else is on the loop goes on.
                yield recorded
    finally:
        await follower.close()


async def read_ledger(log: EventLog) -> Ledger:
    """Fold a whole stream of events."""
    ledger = Ledger()
    async for recorded in recorded_of(log, subjects.EVT_ALL):
        if (event := readable(recorded)) is not None:
            ledger.take(event)
    return ledger


def readable(recorded: Recorded) -> Message | None:
    """Read one event; None where nobody takes it for one: unreadable, or not in its writer's place."""
    try:
        _, message = decode(recorded.body)
        return message if in_place(subjects.parse_event(recorded.subject), message) else None
    except (Undecodable, ValueError):
        return None
