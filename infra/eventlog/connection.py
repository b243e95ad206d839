"""Connect to NATS the one way that was measured to behave; the reason stands beside each option."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import nkeys
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from infra.eventlog.pull import why
from infra.runtime.errors import ConfigInvalid, Unavailable

CONNECT_TIMEOUT_S = 3.0
FLUSH_TIMEOUT_S = 2
RECONNECT_WAIT_S = 0.25
PING_INTERVAL_S = 5


class _Client(Client):
    """The library's client, but that no writer's bytes end its reading, and no connection is left open.

    Subject, reply and headers are the writer's to choose, and the server takes almost any bytes. Where
    the library cannot decode them it stops reading in silence: one message of one host, and every reader of
    the log were deaf for ever (measured).
    """

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Msg:
        built: Msg = super()._build_message(sid, _readable(subject), _readable(reply), data, headers)
        return built

    async def _connect_to_server(self, server: Any) -> None:
        """Close what was made before: the library forgets a connection that had no answer."""
        if self._transport is not None:
            self._transport.close()  # type: ignore[no-untyped-call]
        await super()._connect_to_server(server)

    async def _process_headers(self, headers: bytes | None) -> dict[str, str] | None:
        try:
            return await super()._process_headers(headers)
        except (ValueError, IndexError):
            return None  # None that we could read; what the message means is in its body.


async def connect(
    url: str,
    seed_file: Path,
    name: str,
    on_closed: Callable[[str], None],
    *,
    ping_interval_s: int = PING_INTERVAL_S,
) -> Client:
    """Connect as the identity in *seed_file*; raises Unavailable (try again) or ConfigInvalid (mend it).

    *url* may be several, parted by commas: of a cluster any node may be down when a process starts.
    *name* prefixes the inbox, which is all that this identity may subscribe to for answers. Once connected
    the client reconnects by itself for ever, but for errors that the library takes as final: then
    *on_closed* is called, and a process does best to end and be started again.
    """
    log = structlog.get_logger()

    async def on_error(err: Exception) -> None:
        # A refused permission is told here alone; the request itself only times out.
        if "permissions violation" in str(err).lower():
            log.error("nats_permission_refused", reason=str(err))

    async def closed() -> None:
        if connected:
            on_closed("NATS closed the connection for good")

    seed, client, connected = _seed(seed_file), _Client(), False
    async with AsyncExitStack() as undo:
        # The library leaves a connection open that was made and had no answer.
        undo.push_async_callback(client.close)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await client.connect(
                    url.split(","),
                    name=name,
                    nkeys_seed_str=seed,
                    max_reconnect_attempts=-1,  # the default gives up for good after 60
                    reconnect_time_wait=RECONNECT_WAIT_S,  # type: ignore[arg-type]  # its time in seconds may be a part
                    ping_interval=ping_interval_s,  # the default notices a partition after minutes
                    max_outstanding_pings=2,
                    pending_size=0,  # else what is sent while disconnected arrives after we gave up on it
                    inbox_prefix=f"_INBOX_{name}".encode(),
                    error_cb=on_error,
                    closed_cb=closed,
                )
        except (NatsError, OSError, TimeoutError) as err:
            raise Unavailable("NATS", f"{url}: {why(err)}") from err
        undo.pop_all()
        connected = True
        return client


def closer(client: Client) -> Callable[[], Awaitable[None]]:
    """Give what sends out what is under way, within a bound, and disconnects."""

    async def close() -> None:
        try:
            await client.flush(FLUSH_TIMEOUT_S)
        except (NatsError, OSError, TimeoutError):
            pass  # The server is away or frozen: what it has not got will be sent again by whoever needs it.
        await client.close()

    return close


def _readable(text: bytes) -> bytes:
    """Write what is no UTF-8, and NUL, which no table can hold, as escapes; else the same."""
    return text.decode(errors="backslashreplace").replace("\0", r"\x00").encode()


def _seed(file: Path) -> str:
    """Read an nkey's seed; raises ConfigInvalid naming the file and what should be in it."""
    try:
        seed = file.read_text().strip()
        nkeys.from_seed(seed.encode())
    except OSError as err:
        raise ConfigInvalid(f"the seed file {file} cannot be read: {err.strerror}") from err
    except (nkeys.NkeysError, ValueError, AssertionError) as err:
        raise ConfigInvalid(f"the seed file {file} holds no nkey seed (58 characters, SU...)") from err
    return seed
