"""Wait for an operation to end without asking for its row over and over."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from events import subjects
from events.ids import CommandId
from events.views import OperationView
from infra.eventlog.port import Signals
from infra.readmodel.port import ReadModel
from infra.runtime.errors import Unavailable

LOOK_AGAIN_S = 1.0
"""How often the row is read though nothing was heard: a signal that was lost must not hold anybody up."""


class Watch:
    """One operation under watch."""

    def __init__(self, operation_id: CommandId, reads: ReadModel) -> None:
        self._operation_id = operation_id
        self._reads = reads
        self._ended = asyncio.Event()

    def heard(self, _subject: str, _body: bytes) -> None:
        """Take note that the row says so now."""
        self._ended.set()

    async def until_ended(self, wait_s: float) -> OperationView | None:
        """Give the row once it has ended, or as it is after *wait_s*; None while it cannot be read.

        Whoever did not begin the operation looks at its row once before: it may have ended already.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_s
        while True:
            await self._listen(min(LOOK_AGAIN_S, until - loop.time()))
            found = await self._read()
            if (found is not None and found.state.ended) or loop.time() >= until:
                return found

    async def _listen(self, wait_s: float) -> None:
        try:
            async with asyncio.timeout(max(0.0, wait_s)):
                await self._ended.wait()
        except TimeoutError:
            pass  # Nothing heard: look anyway.
        self._ended.clear()

    async def _read(self) -> OperationView | None:
        try:
            return await self._reads.operation(self._operation_id)
        except Unavailable:
            return None  # The command stands whether or not its row can be read.


@asynccontextmanager
async def watching(signals: Signals, reads: ReadModel, operation_id: CommandId) -> AsyncIterator[Watch]:
    """Watch an operation; begin before its command is stored, and no end is missed."""
    watch = Watch(operation_id, reads)
    try:
        end = await signals.listen(subjects.ended(operation_id), watch.heard)
    except Unavailable:
        yield watch  # Deaf, but it still looks.
        return
    try:
        yield watch
    finally:
        await end()
