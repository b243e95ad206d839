"""Pull messages of one consumer with a standing request.

The library's own `fetch` waits its whole timeout where the batch is not full or the server went away
(measured); here one request stands, messages are handed out as they come, and a request that cannot be
answered any more (expired, or sent over a connection that was lost) is made again.
"""

import asyncio
import json
from collections.abc import Awaitable, Sequence
from datetime import UTC
from typing import TypeVar
from uuid import UUID

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import ConnectionClosedError, ConnectionReconnectingError, OutboundBufferLimitError
from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeout

from events.ids import Seq
from infra.eventlog.port import Recorded
from infra.runtime.errors import Unavailable

REQUEST_EXPIRES_S = 10.0
EXPIRY_SLACK_S = 1.0
DRAIN_TIMEOUT_S = 2.0
REQUEST_BATCH = 256
"""Messages that a standing request asks for: what may lie in the client's queue at most."""

NOTHING_THERE = {"404", "408"}
"""Statuses of a request that is over without any harm: none waits, or it expired."""

T = TypeVar("T")

CONSUMER_DELETED = "Consumer Deleted"


class ConsumerGone(Exception):
    """The server does not know this consumer any more."""


class Puller:
    """The messages of one consumer, in the order in which the server delivers them."""

    def __init__(self, client: Client, stream: str, consumer: str, batch: int = REQUEST_BATCH) -> None:
        self._client = client
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._what = f"consumer {consumer}"
        self._batch = batch
        self._subscription: Subscription | None = None
        self._queue: asyncio.Queue[Msg] = asyncio.Queue()
        self._inbox = ""
        self._owed = 0
        self._asked_at = 0.0
        self._asked_on = -1
        self._refused: Unavailable | ConsumerGone | None = None

    async def next(self, most: int, wait_s: float) -> Sequence[Msg]:
        """Wait up to *wait_s* for the first message, then take what is there, up to *most*.

        Raises Unavailable where the server cannot be asked, ConsumerGone where it has no such consumer;
        what came before such an answer is handed out first.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_s
        taken: list[Msg] = []
        while not taken:
            if self._refused is not None and self._queue.empty():
                refused, self._refused = self._refused, None
                raise refused
            await self._ask()
            try:
                async with asyncio.timeout_at(
                    min(deadline, self._asked_at + REQUEST_EXPIRES_S + EXPIRY_SLACK_S)
                ):
                    self._settle(await self._queue.get(), taken)
            except TimeoutError:
                if loop.time() >= deadline:
                    return taken
            while len(taken) < most and not self._queue.empty():
                self._settle(self._queue.get_nowait(), taken)
        return taken

    async def close(self) -> None:
        """Stop listening, whatever is still to come."""
        if self._subscription is not None and not self._client.is_closed:
            try:
                await self._subscription.unsubscribe()
            except NatsError:
                pass  # The connection is going; the server forgets the subscription with it.

    async def drain(self) -> Sequence[Msg]:
        """Ask for no more; give what the server sent until it knew and what was not handed out.

        A message that it sends after we have stopped to listen would be nobody's until its time is up.
        """
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            try:
                if self._client.is_connected:
                    async with asyncio.timeout(DRAIN_TIMEOUT_S):
                        await subscription.drain()  # type: ignore[no-untyped-call]
                else:
                    await subscription.unsubscribe()
            except (NatsError, OSError, TimeoutError):
                pass  # The connection is going; the server forgets the request with it.
        left: list[Msg] = []
        while not self._queue.empty():
            self._settle(self._queue.get_nowait(), left)
        self._owed = 0
        return left

    async def _ask(self) -> None:
        loop = asyncio.get_running_loop()
        connection = self._client.stats["reconnects"]
        expired = loop.time() >= self._asked_at + REQUEST_EXPIRES_S + EXPIRY_SLACK_S
        stale = expired or self._asked_on != connection
        if self._owed > 0 and not stale:
            return
        request = {"batch": self._batch, "expires": int(REQUEST_EXPIRES_S * 1e9)}
        try:
            if self._subscription is None:
                self._inbox = self._client.new_inbox()
                self._subscription = await self._client.subscribe(
                    self._inbox, cb=self._queue.put, pending_msgs_limit=-1, pending_bytes_limit=-1
                )
            await self._client.publish(self._subject, json.dumps(request).encode(), reply=self._inbox)
        except (NatsError, OSError) as err:
            raise Unavailable("NATS", f"{self._what}: {why(err)}") from err
        self._owed, self._asked_at, self._asked_on = self._batch, loop.time(), connection

    def _settle(self, message: Msg, taken: list[Msg]) -> None:
        """Take a message, or learn from a status that the request is over.

        A status comes on our own inbox. A stored message comes on its own subject, whatever headers its
        writer gave it: told apart by headers, a host could write one that stops every reader for ever.
        """
        if message.subject != self._inbox:
            self._owed -= 1
            taken.append(message)
            return
        headers = message.headers or {}
        status, reason = headers.get("Status", ""), headers.get("Description", "")
        if status == "100":
            return
        self._owed = 0
        if status == "503" or reason == CONSUMER_DELETED:
            self._refused = ConsumerGone(f"{self._what}: {status} {reason}")
        elif status not in NOTHING_THERE:
            self._refused = Unavailable("NATS", f"{self._what}: {status} {reason}")


def recorded(message: Msg) -> Recorded:
    """Read a message that a consumer delivered."""
    meta = message.metadata
    return Recorded(
        Seq(meta.sequence.stream),
        message.subject,
        as_id((message.headers or {}).get("Nats-Msg-Id")),
        message.data,
        meta.timestamp.astimezone(UTC),
    )


async def ended_if_told(answer: Awaitable[T]) -> T:
    """Await the library's *answer*, and end where the task was cancelled meanwhile.

    `asyncio.wait_for` of Python 3.11 forgets a cancellation that comes in the same turn of the loop as the
    answer, and the library waits with it: whoever was told to end went on for ever, once in some ten runs.
    """
    task = asyncio.current_task()
    assert task is not None
    before = task.cancelling()
    try:
        return await answer
    finally:
        if task.cancelling() > before:
            raise asyncio.CancelledError


def why(err: Exception) -> str:
    """Say in a person's words why the client could not do it."""
    if isinstance(err, OutboundBufferLimitError | ConnectionClosedError | ConnectionReconnectingError):
        return "not connected"
    if isinstance(err, TimeoutError | NatsTimeout):
        return "no answer in time"
    return str(err) or type(err).__name__


def as_id(text: str | None) -> UUID | None:
    """Read an id from a header; None where it is none."""
    try:
        return UUID(text) if text else None
    except ValueError:
        return None
