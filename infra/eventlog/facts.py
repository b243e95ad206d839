"""Publish facts as a host: its identity may write onto its own subjects and read nothing at all."""

import re

from nats.aio.client import Client

from events.ids import Seq
from infra.eventlog.jetstream import ERR_STREAM_FULL, ERR_WRONG_LAST_SEQUENCE, ApiError, request
from infra.eventlog.port import LogFull, Write
from infra.runtime.errors import Unavailable

_WRONG_LAST = re.compile(r"wrong last sequence: (\d+)")


class JetStreamFactLog:
    """The hosts' side of the log, as `port.FactLog` describes it."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def publish(self, write: Write, expected: Seq | None) -> Seq:
        headers = {"Nats-Msg-Id": str(write.event_id)}
        if expected is not None:
            headers["Nats-Expected-Last-Subject-Sequence"] = str(expected)
        try:
            answer = await request(self._client, write.subject, write.body, headers)
            return Seq(answer["seq"])
        except ApiError as err:
            found = _WRONG_LAST.search(str(err))
            if err.code == ERR_WRONG_LAST_SEQUENCE and found and int(found[1]) > (expected or 0):
                return Seq(int(found[1]))
            if err.code == ERR_STREAM_FULL:
                raise LogFull(str(err)) from err
            raise Unavailable("event log", str(err)) from err
