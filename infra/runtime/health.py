"""Say whether a process lives and is ready, part by part, to people and to supervisors."""

import asyncio
import json
from collections.abc import Mapping

REQUEST_MAX = 8192
REQUEST_TIMEOUT_S = 2.0


class Health:
    """The parts that a process needs, each up or down with the reason. Ready means that none is down.

    Several tasks may need the same part: it is up again only when each of them, the *holders*, says so.
    """

    def __init__(self, *parts: str) -> None:
        self._down: dict[str, dict[str, str]] = {part: {"": "not started yet"} for part in parts}
        self._outages: set[str] = set()

    def up(self, part: str, holder: str = "") -> bool:
        """Say that *part* works for *holder*; True when that ends an outage."""
        holders = self._down.setdefault(part, {})
        holders.pop("", None)
        holders.pop(holder, None)
        if holders or part not in self._outages:
            return False
        self._outages.discard(part)
        return True

    def down(self, part: str, why: str, holder: str = "") -> bool:
        """Say that *part* is away for *holder*; True when that begins an outage."""
        self._down.setdefault(part, {})[holder] = why
        began = part not in self._outages
        self._outages.add(part)
        return began

    @property
    def ready(self) -> bool:
        """Whether every part works for all who need it."""
        return not any(self._down.values())

    def report(self) -> Mapping[str, str]:
        """Give each part's state: `ok`, or why not."""
        return {part: next(iter(holders.values()), "ok") for part, holders in self._down.items()}


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
