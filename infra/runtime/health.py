"""Say whether a process lives and is ready, part by part, to people and to supervisors."""

import asyncio
import json
from collections.abc import Mapping

REQUEST_MAX = 8192
REQUEST_TIMEOUT_S = 2.0


class Health:
    """The parts that a process needs, each up or down with the reason. Ready means that none is down."""

    def __init__(self, *parts: str) -> None:
        self._down: dict[str, str] = dict.fromkeys(parts, "not started yet")
        self._outages: set[str] = set()
        self._parts = list(parts)

    def up(self, part: str) -> bool:
        """Mark *part* as working; True when that ends an outage."""
        self._down.pop(part, None)
        ended = part in self._outages
        self._outages.discard(part)
        return ended

    def down(self, part: str, why: str) -> bool:
        """Mark *part* as away; True when that begins an outage."""
        if part not in self._parts:
            self._parts.append(part)
        self._down[part] = why
        began = part not in self._outages
        self._outages.add(part)
        return began

    @property
    def ready(self) -> bool:
        """Whether every part works."""
        return not self._down

    def report(self) -> Mapping[str, str]:
        """Give each part's state: `ok`, or why not."""
        return {part: self._down.get(part, "ok") for part in self._parts}


async def serve(health: Health, port: int) -> asyncio.Server:
    """Answer `/livez` and `/readyz` on loopback: 200 or 503 with each part's state as JSON."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                line = await reader.readline()
                path = line.split(b" ")[1] if line.count(b" ") == 2 else b""
                ok = path == b"/livez" or (path == b"/readyz" and health.ready)
                body = json.dumps({"ready": health.ready, "parts": health.report()}).encode()
                status = b"200 OK" if ok else b"503 Service Unavailable"
                head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
                writer.write(head % (status, len(body)) + b"connection: close\r\n\r\n" + body)
                await writer.drain()
        except (TimeoutError, ConnectionError, ValueError):
            pass  # A client that is slow, gone or no HTTP client learns nothing; that is its loss alone.
        finally:
            writer.close()

    return await asyncio.start_server(answer, "127.0.0.1", port, limit=REQUEST_MAX)
