"""Follow a stream, fold what comes, and write rows and checkpoint together."""

import asyncio
import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, takewhile
from uuid import uuid5

import structlog

from events import subjects
from events.codec import BODY_MAX, Undecodable
from events.events import CommandEnded
from events.ids import NAMESPACE, CommandId, EventId, Seq
from events.views import LoggedEvent
from infra.eventlog.port import EventLog, Follower, Recorded, Signals, Write
from infra.readmodel.port import Fenced, ProjectionStore, Turn
from infra.runtime.backoff import persist
from infra.runtime.errors import Unavailable
from infra.runtime.health import Health
from infra.runtime.service import beside
from services.projector.core.project import fold, reads
from services.projector.core.reading import Seen, logged, read

BATCH_MAX = 500
BATCH_BYTES_MAX = 2 * 1024 * 1024
"""Bytes of bodies in one turn, unless its first message alone has more: a turn has to be stored before
PostgreSQL's statement time-out, however large the messages are that a host writes."""
READ_BYTES = 16 * 1024
"""Bytes that are read before others have their turn: a millisecond or two, unless one has more."""
IDLE_S = 2.0
"""How long nothing may come before the read model is looked at: an idle projector, too, notices an outage."""
STANDBY_S = 1.0
"""How often one that is not the active projector asks whether it may be."""
PARKED_RAW_MAX = BODY_MAX
"""Bytes that a dead letter keeps: as base64 in JSON they still fit into one message."""

LOG_PART = "event log"
ROWS_PART = "read model"


@dataclass(frozen=True, slots=True)
class Source:
    """A stream to project; with *keep* each of its events goes into the history as well."""

    name: str
    pattern: str
    log: EventLog
    keep: bool


@dataclass(frozen=True, slots=True)
class _Ahead:
    """What was read and is to be stored next; no turn: nothing came."""

    turn: Turn | None = None
    ended: Sequence[CommandId] = ()
    waiting: Sequence[Recorded] = ()


class Projector:
    """The shell around the folds. One a process; each source runs in a task of its own."""

    def __init__(self, *, store: ProjectionStore, dead: EventLog, signals: Signals, health: Health) -> None:
        self._store = store
        self._signals = signals
        self._dead = dead
        self._health = health
        self._logger = structlog.get_logger()

    async def run(self, source: Source) -> None:
        """Project *source*, for ever; raises Corrupt where it ends before the checkpoint."""
        while True:
            await self._become_active(source)
            position = await persist(self._health, ROWS_PART, partial(self._store.position, source.name))
            self._logger.info("projection_began", stream=source.name, after=position)
            follower = source.log.follow(position, [source.pattern])
            try:
                await self._follow(source, follower, position)
            except Fenced as err:
                # What was read is forgotten with its position: begin again from the checkpoint.
                self._logger.warning("projection_fenced", stream=source.name, reason=str(err))
            finally:
                await follower.close()

    async def _become_active(self, source: Source) -> None:
        standing_by = False
        while True:
            if await persist(self._health, ROWS_PART, self._store.acquire):
                return
            if not standing_by:
                self._logger.info("projection_stands_by", stream=source.name)
            standing_by = True
            await asyncio.sleep(STANDBY_S)

    async def _follow(self, source: Source, follower: Follower, position: Seq) -> None:
        """Store turn after turn, and read the next one while one is stored; raises Fenced, Corrupt."""
        ahead = await self._read_ahead(source, follower, position, ())
        while True:
            due = ahead.turn
            if due is None:
                await self._check(source, position)
                ahead = await self._read_ahead(source, follower, position, ahead.waiting)
            else:
                position = due.after
                reading = self._read_ahead(source, follower, position, ahead.waiting)
                ahead = await beside(self._save(due, ahead.ended), reading)

    async def _read_ahead(
        self, source: Source, follower: Follower, position: Seq, waiting: Sequence[Recorded]
    ) -> _Ahead:
        """Make the turn after *position*; *waiting* comes first: the follower has passed it."""
        if not waiting:
            waiting = await persist(self._health, LOG_PART, partial(follower.next, BATCH_MAX, IDLE_S))
        if not waiting:
            return _Ahead()
        batch, waiting = _cut(waiting)
        turn, ended = await self._turn(source, position, batch)
        return _Ahead(turn, ended, waiting)

    async def _save(self, turn: Turn, ended: Sequence[CommandId]) -> None:
        # The outcome of a try may be unknown: if it was stored after all, the next one is fenced.
        await persist(self._health, ROWS_PART, partial(self._store.advance, turn))
        await self._tell(ended)

    async def _tell(self, ended: Sequence[CommandId]) -> None:
        """Tell those who wait that an operation's row has ended; who is not told looks by themselves."""
        try:
            for operation_id in ended:
                await self._signals.send(subjects.ended(operation_id), b"")
        except Unavailable:
            pass  # The next read of the log says that NATS is away.

    async def _check(self, source: Source, position: Seq) -> None:
        found = await persist(self._health, ROWS_PART, partial(self._store.position, source.name))
        if found != position:
            raise Fenced(f"the checkpoint of {source.name} is at {found}, not at {position}")

    async def _turn(
        self, source: Source, before: Seq, batch: Sequence[Recorded]
    ) -> tuple[Turn, Sequence[CommandId]]:
        """Read *batch*, and say which operations it ends.

        What nobody can read is on DEAD before the checkpoint passes it.
        """
        seen: list[Seen] = []
        history: list[tuple[LoggedEvent, bytes]] = []
        at_once = READ_BYTES
        for recorded in batch:
            if at_once >= READ_BYTES:
                await asyncio.sleep(0)  # Health checks and NATS go on.
                at_once = 0
            at_once += len(recorded.body)
            one = await self._read(source, recorded)
            if one is not None:
                seen.append(one)
            if source.keep:
                history.append((_logged(recorded, one), recorded.body))
        turn = Turn(
            stream=source.name,
            before=before,
            after=batch[-1].seq,
            reads=reads(seen),
            fold=partial(fold, batch=seen),
            logged=history,
        )
        ends = [one.message.command_id for one in seen if isinstance(one.message, CommandEnded)]
        return turn, ends

    async def _read(self, source: Source, recorded: Recorded) -> Seen | None:
        try:
            return read(recorded.seq, recorded.subject, recorded.body)
        except Undecodable as err:
            letter = _dead_letter(source.name, recorded, str(err))
            await persist(self._health, LOG_PART, partial(self._dead.append, [letter], {}))
            self._logger.error(
                "event_parked",
                stream=source.name,
                seq=recorded.seq,
                subject=recorded.subject,
                reason=str(err),
            )
            return None


def _cut(waiting: Sequence[Recorded]) -> tuple[Sequence[Recorded], Sequence[Recorded]]:
    """Part what one turn takes from what is left for the next ones."""
    sums = accumulate(len(recorded.body) for recorded in waiting)
    most = max(1, sum(1 for _ in takewhile(lambda size: size <= BATCH_BYTES_MAX, sums)))
    return waiting[:most], waiting[most:]


def _logged(recorded: Recorded, seen: Seen | None) -> LoggedEvent:
    return logged(
        seq=recorded.seq,
        subject=recorded.subject,
        event_id=recorded.event_id,
        body=recorded.body,
        seen=seen,
    )


def _dead_letter(stream: str, recorded: Recorded, reason: str) -> Write:
    """Write down what could not be read. The id comes from its place: a repeat is the same write."""
    letter = {
        "stream": stream,
        "seq": recorded.seq,
        "subject": recorded.subject,
        "reason": reason,
        "bytes": len(recorded.body),
        "raw": base64.b64encode(recorded.body[:PARKED_RAW_MAX]).decode(),
    }
    event_id = EventId(uuid5(NAMESPACE, f"dead\0{stream}\0{recorded.seq}"))
    return Write(subjects.dead(stream), event_id, json.dumps(letter).encode())
