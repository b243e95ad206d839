"""Connect to NATS the one way that was measured to behave; the reason stands beside each option."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import nats
import nkeys
import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError

from infra.eventlog.pull import why
from infra.runtime.errors import ConfigInvalid, Unavailable

CONNECT_TIMEOUT_S = 3.0
FLUSH_TIMEOUT_S = 2
RECONNECT_WAIT_S = 0.25
PING_INTERVAL_S = 5


async def connect(url: str, seed_file: Path, name: str, on_closed: Callable[[str], None]) -> Client:
    """Connect as the identity in *seed_file*; raises Unavailable (try again) or ConfigInvalid (mend it).

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
        on_closed("NATS closed the connection for good")

    seed = _seed(seed_file)
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            return await nats.connect(
                url,
                name=name,
                nkeys_seed_str=seed,
                max_reconnect_attempts=-1,  # the default gives up for good after 60
                reconnect_time_wait=RECONNECT_WAIT_S,
                ping_interval=PING_INTERVAL_S,  # the default notices a partition after minutes
                max_outstanding_pings=2,
                pending_size=0,  # else what is sent while disconnected arrives after we gave up on it
                inbox_prefix=f"_INBOX_{name}".encode(),
                error_cb=on_error,
                closed_cb=closed,
            )
    except (NatsError, OSError, TimeoutError) as err:
        raise Unavailable("NATS", f"{url}: {why(err)}") from err


def closer(client: Client) -> Callable[[], Awaitable[None]]:
    """Give what sends out what is under way, within a bound, and disconnects."""

    async def close() -> None:
        try:
            await client.flush(FLUSH_TIMEOUT_S)
        except (NatsError, OSError, TimeoutError):
            pass  # The server is away or frozen: what it has not got will be sent again by whoever needs it.
        await client.close()

    return close


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
