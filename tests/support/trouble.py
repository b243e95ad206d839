"""What comes between a writer and its log: faults of the twin, a disturbed line before a server."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from events.ids import Seq
from infra.eventlog.memory import Fault, MemoryStream
from infra.eventlog.port import Conflict, EventLog, Write
from infra.runtime.errors import Unavailable
from tests.support.eventually import eventually
from tests.support.proxy import Line

Outcome = Seq | Unavailable | Conflict


@dataclass(frozen=True)
class Try:
    """One call that may be made again; *subjects* are written by nobody else."""

    call: Callable[[], Awaitable[Seq]]
    writes: Sequence[Write]

    async def made(self) -> Outcome:
        try:
            return await self.call()
        except (Unavailable, Conflict) as err:
            return err


class Making:
    """Tries that are under way, all at once."""

    def __init__(self, tries: Sequence[Try]) -> None:
        self._heard = 0
        self.all = asyncio.gather(*(self._make(one) for one in tries))

    async def first(self) -> None:
        """Wait until one of them has heard something."""
        await eventually(lambda: self._heard > 0, "the first of the tries")

    async def _make(self, one: Try) -> Outcome:
        heard = await one.made()
        self._heard += 1
        return heard


class Trouble(Protocol):
    """What comes between a writer and its log; each gives what the tries heard."""

    async def answers_lost(self, tries: Sequence[Try]) -> Sequence[Outcome]:
        """Stored, and the connection breaks before the answer."""

    async def answers_late(self, tries: Sequence[Try]) -> Sequence[Outcome]:
        """Stored, and the answer comes when nobody waits for it any more."""

    async def requests_lost(self, tries: Sequence[Try]) -> Sequence[Outcome]:
        """Lost with the connection before the server read it."""

    async def requests_late(
        self, tries: Sequence[Try], meanwhile: Callable[[], Awaitable[None]]
    ) -> Sequence[Outcome]:
        """Held up on the way for longer than any patience; *meanwhile* happens before it arrives."""


class MemoryTrouble:
    """Faults of the twin."""

    def __init__(self, stream: MemoryStream) -> None:
        self._stream = stream

    async def answers_lost(self, tries: Sequence[Try]) -> Sequence[Outcome]:
        return await self._meet(Fault.ANSWER_LOST, tries)

    async def answers_late(self, tries: Sequence[Try]) -> Sequence[Outcome]:
        return await self._meet(Fault.ANSWER_LOST, tries)

    async def requests_lost(self, tries: Sequence[Try]) -> Sequence[Outcome]:
        return await self._meet(Fault.NOT_STORED, tries)

    async def requests_late(
        self, tries: Sequence[Try], meanwhile: Callable[[], Awaitable[None]]
    ) -> Sequence[Outcome]:
        heard = await self._meet(Fault.LATE, tries)
        await meanwhile()
        return heard

    async def _meet(self, fault: Fault, tries: Sequence[Try]) -> Sequence[Outcome]:
        self._stream.faults.extend([fault] * len(tries))
        heard = [await one.made() for one in tries]
        assert not self._stream.faults
        assert all(isinstance(one, Unavailable) for one in heard)
        return heard


class LineTrouble:
    """A real server at the far end of a line."""

    def __init__(self, over: Line, direct: EventLog) -> None:
        self.line = over
        self._direct = direct

    async def answers_lost(self, tries: Sequence[Try]) -> Sequence[Outcome]:
        self.line.answers.close()
        making = Making(tries)
        await self._stored(tries)
        self.line.cut()
        return await making.all

    async def answers_late(self, tries: Sequence[Try]) -> Sequence[Outcome]:
        self.line.answers.close()
        making = Making(tries)
        await self._stored(tries)
        await making.first()  # a fact's one patience is over
        self.line.answers.release()
        return await making.all

    async def requests_lost(self, tries: Sequence[Try]) -> Sequence[Outcome]:
        self.line.requests.close()
        making = Making(tries)
        sent = sum(len(write.body) for one in tries for write in one.writes)
        await eventually(lambda: self.line.requests.stopped > sent, "every request on its way")
        self.line.cut()
        return await making.all

    async def requests_late(
        self, tries: Sequence[Try], meanwhile: Callable[[], Awaitable[None]]
    ) -> Sequence[Outcome]:
        self.line.requests.close()
        heard = await Making(tries).all
        assert all(isinstance(one, Unavailable) for one in heard)
        assert await self._direct.last_seq() == 0
        await meanwhile()
        before = await self._direct.last_seq()
        self.line.requests.release()
        if before == 0:
            await self._stored(tries)
        return heard

    async def _stored(self, tries: Sequence[Try]) -> None:
        wanted = sum(len(one.writes) for one in tries)

        async def stored() -> bool:
            return await self._direct.last_seq() >= wanted

        await eventually(stored, f"{wanted} messages in the log")
