"""Consume through a durable consumer of JetStream, which infra.deploy made."""

from collections.abc import Sequence
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.errors import Error as JetStreamError

from events.ids import Seq
from infra.eventlog.jetstream import ApiError, ask
from infra.eventlog.port import Delivery, Recorded
from infra.eventlog.pull import ConsumerGone, Puller, ended_if_told, recorded, why
from infra.runtime.errors import Unavailable

ACK_TIMEOUT_S = 2.0
RECLAIM_MAX = 4096
"""Of all that was delivered so many of the newest are looked through; 256 at most are not settled."""
BATCH = 64
"""Messages asked for ahead: a reader that dies holds no more than these back until their time is up."""


class JetStreamDelivery:
    """One message that waits for its acknowledgement."""

    def __init__(self, message: Msg) -> None:
        self._message = message
        self.recorded: Recorded = recorded(message)

    async def ack(self, *, wait: bool = True) -> None:
        """Wait for the server's word: a plain ack is lost in silence when the connection is.

        The server takes in what came over one connection in its order.
        """
        try:
            if wait:
                await ended_if_told(self._message.ack_sync(timeout=ACK_TIMEOUT_S))
            else:
                await self._message.ack()
        except (NatsError, JetStreamError, OSError, TimeoutError) as err:
            raise Unavailable("event log", f"acknowledgement: {why(err)}") from err

    async def retry(self, delay_s: float) -> None:
        try:
            await self._message.nak(delay=delay_s)
        except (NatsError, JetStreamError, OSError) as err:
            raise Unavailable("event log", f"nak: {why(err)}") from err


class JetStreamConsumer:
    """The durable consumer *name* on *stream*, as `port.Consumer` describes it."""

    def __init__(self, client: Client, stream: str, name: str) -> None:
        self._client, self._stream, self._name = client, stream, name
        self._puller = Puller(client, stream, name, BATCH)
        self._left: list[Msg] = []

    async def fetch(self, most: int, wait_s: float) -> Sequence[Delivery]:
        try:
            return [JetStreamDelivery(message) for message in await self._puller.next(most, wait_s)]
        except ConsumerGone as err:
            raise Unavailable("event log", f"{err}; `python -m infra.deploy.bootstrap` makes it") from err

    async def close(self) -> None:
        """Give back what was fetched ahead, so that another reader has it at once.

        Raises Unavailable where that cannot be said: it comes again when its time is up, or when this is
        called again.
        """
        self._left.extend(await self._puller.drain())
        while self._left:
            try:
                await self._left[-1].nak()
            except (NatsError, JetStreamError, OSError) as err:
                raise Unavailable("event log", f"nak: {why(err)}") from err
            self._left.pop()

    async def reclaim(self) -> None:
        """Say no in the place of whoever took them. The server passes over what is settled (measured)."""
        info = await _info(self._client, self._stream, self._name)
        last, place = info["delivered"]["stream_seq"], info["delivered"]["consumer_seq"]
        first = max(info["ack_floor"]["stream_seq"], last - RECLAIM_MAX) + 1
        if not info["num_ack_pending"]:
            return
        try:
            for seq in range(first, last + 1):
                answer = f"$JS.ACK.{self._stream}.{self._name}.1.{seq}.{place}.0.0"
                await self._client.publish(answer, b"-NAK")
        except (NatsError, OSError) as err:
            raise Unavailable("event log", f"nak: {why(err)}") from err


async def settled(client: Client, stream: str, name: str) -> Seq:
    """Give the place up to which every message of *stream* was acknowledged by *name*; raises Unavailable."""
    return Seq((await _info(client, stream, name))["ack_floor"]["stream_seq"])


async def _info(client: Client, stream: str, name: str) -> dict[str, Any]:
    try:
        return await ask(client, f"$JS.API.CONSUMER.INFO.{stream}.{name}", {})
    except ApiError as err:
        raise Unavailable("event log", f"consumer {name} of {stream}: {err}") from err
