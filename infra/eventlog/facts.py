"""Publish facts as a host: its identity may write onto its own subjects and read nothing at all."""

import re

from nats.aio.client import Client

from events.ids import Seq
from infra.eventlog.jetstream import ERR_STREAM_FULL, ERR_WRONG_LAST_SEQUENCE, ApiError, request
from infra.eventlog.port import LogFull, Write
from infra.runtime.errors import Unavailable

GUARDS_TRIED = 4
"""Nobody else writes on our subject: only earlier tries of ours can land between two answers."""

_WRONG_LAST = re.compile(r"wrong last sequence: (\d+)")


class JetStreamFactLog:
    """The hosts' side of the log, as `port.FactLog` describes it."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def publish(self, write: Write, expected: Seq | None) -> Seq:
        """Store it once if that can be told, twice if not, never not at all; see the port and ADR 0015.

        That the subject's last sequence is another than *expected* does not say whose that one is: an
        earlier try of this write, or what a restored journal has forgotten. The write goes out again behind
        it with the same id, by which the server knows it for as long as it keeps ids (ten minutes).
        """
        for _ in range(GUARDS_TRIED):
            try:
                headers = {
                    "Nats-Msg-Id": str(write.event_id),
                    "Nats-Expected-Last-Subject-Sequence": str(expected or 0),
                }
                return Seq((await request(self._client, write.subject, write.body, headers))["seq"])
            except ApiError as err:
                if err.code == ERR_STREAM_FULL:
                    raise LogFull(str(err)) from err
                last = _WRONG_LAST.search(str(err))
                if err.code != ERR_WRONG_LAST_SEQUENCE or last is None:
                    raise Unavailable("event log", str(err)) from err
                expected = Seq(int(last[1]))
        raise Unavailable("event log", f"the last sequence on {write.subject} did not stay {expected}")
