"""Leases on NATS JetStream: the stream LEASE, one message a subject, which infra.deploy makes."""

from collections.abc import Callable
from uuid import UUID

from nats.aio.client import Client

from events.ids import Seq
from infra.eventlog.jetstream import ERR_WRONG_LAST_SEQUENCE, ApiError, JetStreamLog, request
from infra.eventlog.port import Conflict, Recorded, Write
from infra.runtime.errors import Unavailable

STREAM = "LEASE"
ANSWER_S = 0.5
"""Several of these waits fit into a term."""
PING_INTERVAL_S = 1
"""Of the connection of its own: as others do, it would notice a frozen server after 15 s (measured)."""


class JetStreamLeases:
    """The stream, as `port.Leases` describes it. Needs a connection of its own: see PING_INTERVAL_S."""

    def __init__(self, client: Client, new_id: Callable[[], UUID], answer_s: float = ANSWER_S) -> None:
        self._client = client
        self._answer_s = answer_s
        self._log = JetStreamLog(client, STREAM, new_id, answer_s=answer_s)

    async def look(self, subject: str) -> Recorded | None:
        return await self._log.load(subject)

    async def say(self, write: Write, guard: Seq) -> Seq:
        headers = {
            "Nats-Msg-Id": str(write.event_id),
            "Nats-Expected-Last-Subject-Sequence": str(guard),
        }
        try:
            answer = await request(self._client, write.subject, write.body, headers, self._answer_s)
        except ApiError as err:
            if err.code == ERR_WRONG_LAST_SEQUENCE:
                raise Conflict(str(err)) from err
            raise Unavailable("leases", str(err)) from err
        if answer.get("duplicate"):
            raise Conflict(f"id {write.event_id} was used before")  # A look tells by whom.
        return Seq(answer["seq"])
