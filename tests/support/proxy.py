"""A line between a client and its server that can be disturbed on command, one direction at a time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

CHUNK = 64 * 1024
HELD_MAX = 16 * 1024 * 1024


@dataclass
class Direction:
    """What becomes of the bytes that go one way; *stopped* counts those that did not get through."""

    held: list[tuple[asyncio.StreamWriter, bytes]] = field(default_factory=list)
    stopped: int = 0
    open: bool = True

    def pass_on(self, to: asyncio.StreamWriter, chunk: bytes) -> None:
        """Send them on, or keep them back."""
        if self.open:
            to.write(chunk)
            return
        self.stopped += len(chunk)
        assert self.stopped <= HELD_MAX, "a test that holds back so much waits for nothing"
        self.held.append((to, chunk))

    def close(self) -> None:
        """Let nothing through from now on, and keep it."""
        self.open, self.stopped = False, 0

    def release(self) -> None:
        """Let through what was kept, in order, and what comes."""
        self.open = True
        for to, chunk in self.held:
            to.write(chunk)
        self.held.clear()


class Line:
    """The line; *requests* go to the server, *answers* come from it."""

    def __init__(self, to_port: int) -> None:
        self.requests = Direction()
        self.answers = Direction()
        self.port = 0
        self._to_port = to_port
        self._ends: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Break every connection, lose what was kept back, and let through what comes over new ones."""
        while self._ends:
            self._ends.pop().transport.abort()
        self.requests.held.clear()
        self.answers.held.clear()
        self.requests.open = self.answers.open = True

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection until either end closes it."""
        self._ends.add(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to_port)
            self._ends.add(far_writer)
            await asyncio.gather(
                self._carry(reader, far_writer, self.requests), self._carry(far_reader, writer, self.answers)
            )
        except OSError:
            pass  # The server is away: so is this line.
        finally:
            writer.transport.abort()

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction
    ) -> None:
        try:
            while chunk := await reader.read(CHUNK):
                direction.pass_on(writer, chunk)
        except OSError:
            pass  # Cut.
        finally:
            writer.transport.abort()


@asynccontextmanager
async def line(to_port: int) -> AsyncIterator[Line]:
    """Listen on a free port and carry what comes there to *to_port*."""
    carried = Line(to_port)
    server = await asyncio.start_server(carried.serve, "127.0.0.1", 0)
    carried.port = server.sockets[0].getsockname()[1]
    try:
        yield carried
    finally:
        carried.cut()
        server.close()
        await server.wait_closed()
