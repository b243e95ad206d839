"""Store decisions, one batch at a time: nobody decides on what is about to be stored or taken back."""

import asyncio
from collections.abc import Callable
from uuid import UUID

import structlog

from events.events import ClaimReleased, ClaimTaken, HostReleased, HostReserved, VmDesired
from infra.eventlog.port import Conflict, EventLog
from infra.runtime.clock import Clock
from services.scheduler.batch import Batch

IMPLIED = (ClaimTaken, ClaimReleased, HostReserved, HostReleased, VmDesired)
"""What goes with the word on a VM, and gets no line of its own: all of it is in the log of events."""


class Writer:
    """The one hand of a scheduler that writes."""

    def __init__(self, log: EventLog, clock: Clock, new_id: Callable[[], UUID]) -> None:
        self._log = log
        self._clock = clock
        self._new_id = new_id
        self._logger = structlog.get_logger()
        self.turn = asyncio.Lock()
        """Held from the first decision of a batch until it is stored or dropped."""

    async def store(self, batch: Batch) -> bool:
        """Store *batch*, which was made in this turn; False where a guard did not hold.

        Raises Unavailable. Whatever was not stored is dropped.
        """
        assert self.turn.locked(), "a batch is made and stored in one turn"
        if batch.empty:
            return True
        kept = False
        try:
            last = await self._log.append(batch.writes(self._clock.now(), self._new_id), batch.guards)
            stored, kept = batch.keep(last), True
        except Conflict as err:
            self._logger.info("conflict", decisions=batch.decisions, reason=str(err))
            return False
        finally:
            if not kept:
                batch.drop()
        for seq, change in stored:
            if not isinstance(change.event, IMPLIED):
                self._logger.info(change.event.TYPE, seq=seq, subject=change.subject)
        return True
