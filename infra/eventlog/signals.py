"""Signals on core NATS: heartbeats, and the live copy of each stored event."""

from collections.abc import Awaitable, Callable

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from infra.eventlog.pull import why
from infra.runtime.errors import Unavailable


class NatsSignals:
    """Core publish and subscribe, as `port.Signals` describes it."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def send(self, subject: str, body: bytes) -> None:
        """Send; raises Unavailable while disconnected."""
        try:
            await self._client.publish(subject, body)
        except (NatsError, OSError) as err:
            raise Unavailable("NATS", f"{subject}: {why(err)}") from err

    async def listen(
        self, pattern: str, heard: Callable[[str, bytes], None]
    ) -> Callable[[], Awaitable[None]]:
        async def received(message: Msg) -> None:
            heard(message.subject, message.data)

        try:
            subscription = await self._client.subscribe(pattern, cb=received)
        except (NatsError, OSError) as err:
            raise Unavailable("NATS", f"{pattern}: {why(err)}") from err

        async def end() -> None:
            if not self._client.is_closed:
                await subscription.unsubscribe()

        return end
