"""Wait for an operation to end without asking for its row over and over."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from events import codec, subjects
from events.codec import Undecodable
from events.events import CommandEnded
from events.ids import CommandId, VmId
from events.views import OperationView
from infra.eventlog.port import Signals
from infra.readmodel.port import ReadModel
from infra.runtime.backoff import delays_s
from infra.runtime.errors import Unavailable

LOOK_FIRST_S, LOOK_AGAIN_S = 0.03, 1.0
"""How often the row is read though nothing was heard, seldomer each time: the end may have been said just
before we listened, and a signal that was lost must not hold anybody up."""

CATCH_UP_FIRST_S, CATCH_UP_MOST_S, CATCH_UP_GROWTH = 0.005, 0.05, 1.25
"""Once the end was heard the row is 10 to 15 ms behind it (measured): doubling would overshoot that."""


class Watch:
    """One operation under watch."""

    def __init__(self, operation_id: CommandId, reads: ReadModel) -> None:
        self._operation_id = operation_id
        self._reads = reads
        self._over = asyncio.Event()

    def heard(self, _subject: str, body: bytes) -> None:
        """Take note when *body* says that the operation has ended."""
        try:
            message = codec.decode(body)[1]
        except Undecodable:
            return  # The row will tell, on the next look.
        if isinstance(message, CommandEnded) and message.command_id == self._operation_id:
            self._over.set()

    async def until_ended(self, wait_s: float) -> OperationView | None:
        """Give the row once it has ended, or as it is after *wait_s*; None while it cannot be read."""
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_s
        looks = delays_s(LOOK_FIRST_S, LOOK_AGAIN_S)
        pause_s = CATCH_UP_FIRST_S
        while True:
            found = await self._read()  # first: it may have ended before anyone asked
            if (found is not None and found.state.ended) or loop.time() >= until:
                return found
            left = until - loop.time()
            if self._over.is_set():
                await asyncio.sleep(max(0.0, min(pause_s, left)))
                pause_s = min(pause_s * CATCH_UP_GROWTH, CATCH_UP_MOST_S)
            else:
                await self._listen(min(looks.next(), left))

    async def _listen(self, wait_s: float) -> None:
        try:
            async with asyncio.timeout(max(0.0, wait_s)):
                await self._over.wait()
        except TimeoutError:
            pass  # Nothing heard: look anyway.

    async def _read(self) -> OperationView | None:
        try:
            return await self._reads.operation(self._operation_id)
        except Unavailable:
            return None  # The command stands whether or not its row can be read.


@asynccontextmanager
async def watching(
    signals: Signals, reads: ReadModel, vm_id: VmId, operation_id: CommandId
) -> AsyncIterator[Watch]:
    """Watch an operation on *vm_id*; begin before its command is stored, and no end can be missed."""
    watch = Watch(operation_id, reads)
    try:
        end = await signals.listen(f"{subjects.LIVE}{subjects.vm_ctl(vm_id)}", watch.heard)
    except Unavailable:
        yield watch  # Deaf, but it still looks once a second.
        return
    try:
        yield watch
    finally:
        await end()
