"""The event log on NATS JetStream. How unknown outcomes are resolved: `JetStreamLog.append`."""

import asyncio
import base64
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from events.ids import Seq
from infra.eventlog.follower import JetStreamFollower
from infra.eventlog.port import BATCH_MAX, Conflict, Guards, LogFull, Recorded, Write, check_guards
from infra.eventlog.pull import ConsumerGone, Puller, as_id, ended_if_told, recorded, why
from infra.runtime.backoff import delays_s
from infra.runtime.errors import Unavailable

REQUEST_TIMEOUT_S = 2.0
APPEND_PATIENCE_S = 8.0
"""How long an append is tried before its caller hears Unavailable: longer than a leader's election."""

INACTIVE_NS = 20 * 10**9
"""After which the server forgets a follower's consumer."""

ERR_NO_MESSAGE = 10037
ERR_WRONG_LAST_SEQUENCE = 10071
ERR_ID_SEEN_IN_BATCH = 10201
ERR_STREAM_FULL = 10077

# Not among them: 10164 and 10158, "in flight". Like any other no that is not final, they are tried again.
_MAYBE_OURS = {ERR_WRONG_LAST_SEQUENCE, ERR_ID_SEEN_IN_BATCH}


class ApiError(Exception):
    """JetStream's own no."""

    def __init__(self, error: Mapping[str, Any]) -> None:
        super().__init__(f"{error.get('description')} ({error.get('err_code')})")
        self.code: int = error.get("err_code", 0)


async def ask(
    client: Client, subject: str, body: Mapping[str, Any], answer_s: float = REQUEST_TIMEOUT_S
) -> dict[str, Any]:
    """Call the JetStream API; raises ApiError, Unavailable."""
    return await request(client, subject, json.dumps(body).encode(), None, answer_s)


async def request(
    client: Client,
    subject: str,
    body: bytes,
    headers: dict[str, str] | None,
    answer_s: float = REQUEST_TIMEOUT_S,
) -> dict[str, Any]:
    """Send to JetStream and read its answer; raises ApiError for its no, Unavailable for no answer."""
    try:
        answer = await ended_if_told(client.request(subject, body, timeout=answer_s, headers=headers))
    except NoRespondersError as err:
        raise Unavailable(
            "event log", "nobody answers for the stream: no leader yet, or it is not there"
        ) from err
    except (NatsError, OSError, TimeoutError) as err:
        raise Unavailable("event log", why(err)) from err
    found: dict[str, Any] = json.loads(answer.data)
    if "error" in found:
        raise ApiError(found["error"])
    return found


class JetStreamLog:
    """One stream, as `port.EventLog` describes it."""

    def __init__(
        self,
        client: Client,
        stream: str,
        new_id: Callable[[], UUID],
        *,
        answer_s: float = REQUEST_TIMEOUT_S,
    ) -> None:
        self._client = client
        self._stream = stream
        self._new_id = new_id
        self._answer_s = answer_s

    async def append(self, writes: Sequence[Write], guards: Guards) -> Seq:
        """Store all or none; see the port.

        A guard that does not hold may mean that an earlier try of ours landed and its answer was lost:
        exactly one message can follow the guard's sequence, so reading that one tells.
        """
        if not 0 < len(writes) <= BATCH_MAX:
            raise ValueError(f"{len(writes)} messages in one append; 1 to {BATCH_MAX} are possible")
        check_guards(writes, guards)
        deadline = asyncio.get_running_loop().time() + APPEND_PATIENCE_S
        waits = delays_s(0.005, 0.25)
        messages = _with_guards(writes, guards)
        unsure = False
        while True:
            try:
                return await self._try(writes, guards, messages)
            except LogFull as err:
                if not unsure:
                    raise
                # A try without an answer may land yet, once there is room: something may be stored.
                raise Unavailable(err.what, err.why) from err
            except Unavailable:
                unsure = True
                if asyncio.get_running_loop().time() > deadline:
                    raise
            await asyncio.sleep(waits.next())

    async def _try(
        self, writes: Sequence[Write], guards: Guards, messages: Sequence[tuple[str, bytes, dict[str, str]]]
    ) -> Seq:
        try:
            answer = await self._send(messages)
        except ApiError as err:
            if err.code == ERR_STREAM_FULL:
                raise LogFull(f"stream {self._stream}: {err}") from err
            if err.code not in _MAYBE_OURS:
                raise Unavailable("event log", str(err)) from err
            landed = await self._landed(writes, guards)
            if landed is not None:
                return landed
            if err.code == ERR_WRONG_LAST_SEQUENCE and not await self._moved(guards):
                # A leader that was frozen and does not know yet that it was replaced takes a guard that is
                # ahead of it for wrong, while its successor may be storing the same message (measured).
                raise Unavailable("event log", f"{err}, but nothing is stored behind any guard") from err
            raise Conflict(str(err)) from err
        if answer.get("duplicate") and not await self._is_ours(answer["seq"], writes[-1]):
            raise Conflict(f"event id {writes[-1].event_id} was used by someone else")
        return Seq(answer["seq"])

    async def load(self, subject: str) -> Recorded | None:
        """Read from the leader: direct get is stale, with three nodes up to 12 % of reads (measured)."""
        return await self._get({"last_by_subj": subject})

    async def last_per_subject(self, pattern: str) -> Sequence[Recorded]:
        config = {"deliver_policy": "last_per_subject", "filter_subject": pattern}
        name, pending = await self._make_consumer(config)
        puller = Puller(self._client, self._stream, name)
        found: list[Recorded] = []
        try:
            while len(found) < pending:
                messages = await puller.next(pending - len(found), REQUEST_TIMEOUT_S)
                if not messages:
                    raise Unavailable(
                        "event log", f"{pending - len(found)} messages of {pattern} did not come"
                    )
                found.extend(recorded(message) for message in messages)
        except ConsumerGone as err:
            raise Unavailable("event log", str(err)) from err
        finally:
            await puller.close()
            await self._drop_consumer(name)
        return found

    async def last_seq(self) -> Seq:
        try:
            info = await ask(self._client, f"$JS.API.STREAM.INFO.{self._stream}", {})
        except ApiError as err:
            raise Unavailable("event log", str(err)) from err
        return Seq(info["state"]["last_seq"])

    def follow(self, after: Seq, patterns: Sequence[str]) -> JetStreamFollower:
        async def make_consumer(after: Seq) -> str:
            start = {"deliver_policy": "by_start_sequence", "opt_start_seq": after + 1}
            return (await self._make_consumer(start | {"filter_subjects": list(patterns)}))[0]

        return JetStreamFollower(
            self._client,
            self._stream,
            after,
            make_consumer=make_consumer,
            drop_consumer=self._drop_consumer,
            last_seq=self.last_seq,
        )

    async def _send(self, messages: Sequence[tuple[str, bytes, dict[str, str]]]) -> dict[str, Any]:
        """Publish one message, or an atomic batch (NATS ADR-50) whose last message commits it."""
        if len(messages) > 1:
            batch = str(self._new_id())
            for index, (subject, body, headers) in enumerate(messages[:-1], 1):
                head = headers | {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(index)}
                try:
                    await self._client.publish(subject, body, headers=head)
                except (NatsError, OSError) as err:
                    raise Unavailable("event log", why(err)) from err
            subject, body, headers = messages[-1]
            headers = headers | {
                "Nats-Batch-Id": batch,
                "Nats-Batch-Sequence": str(len(messages)),
                "Nats-Batch-Commit": "1",
            }
        else:
            subject, body, headers = messages[0]
        return await request(self._client, subject, body, headers)

    async def _landed(self, writes: Sequence[Write], guards: Guards) -> Seq | None:
        """Give the last sequence of *writes* if they are stored, told by what follows a guard of theirs."""
        looked: set[str] = set()
        for index, write in enumerate(writes):
            if write.subject not in guards or write.subject in looked:
                continue
            looked.add(write.subject)
            stored = await self._after(guards[write.subject], write.subject)
            if stored is not None:
                ours = stored.event_id == write.event_id
                return (
                    Seq(stored.seq + len(writes) - 1 - index) if ours else None
                )  # a batch lies in one piece
        return None

    async def _moved(self, guards: Guards) -> bool:
        """Tell whether anything is stored behind a guard, so that it can never hold again."""
        for subject, seq in guards.items():
            if await self._after(seq, subject) is not None:
                return True
        return False

    async def _after(self, seq: Seq, subject: str) -> Recorded | None:
        return await self._get({"seq": seq + 1, "next_by_subj": subject})

    async def _is_ours(self, seq: int, write: Write) -> bool:
        stored = await self._get({"seq": seq})
        if stored is None:
            raise Unavailable("event log", f"{seq} is said to be a duplicate, but is not there to be read")
        return stored.event_id == write.event_id and stored.subject == write.subject

    async def _get(self, which: Mapping[str, Any]) -> Recorded | None:
        try:
            subject = f"$JS.API.STREAM.MSG.GET.{self._stream}"
            answer = await ask(self._client, subject, which, self._answer_s)
        except ApiError as err:
            if err.code == ERR_NO_MESSAGE:
                return None
            raise Unavailable("event log", str(err)) from err
        message = answer["message"]
        return Recorded(
            Seq(message["seq"]),
            message["subject"],
            _header_id(base64.b64decode(message.get("hdrs", "")).decode(errors="replace")),
            base64.b64decode(message.get("data", "")),
            datetime.fromisoformat(message["time"][:26].rstrip("Z")).replace(tzinfo=UTC),
        )

    async def _drop_consumer(self, name: str) -> None:
        """Ask the server to forget a consumer; where that fails it does so by itself after INACTIVE_NS."""
        try:
            await self._client.publish(f"$JS.API.CONSUMER.DELETE.{self._stream}.{name}", b"")
        except (NatsError, OSError):
            pass  # Not connected: then it is inactive from now on.

    async def _make_consumer(self, config: Mapping[str, Any]) -> tuple[str, int]:
        """Make a consumer in the server's memory; give its name and how many messages wait."""
        name = f"f{self._new_id().hex}"
        wanted = {
            "name": name,
            "ack_policy": "none",
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": INACTIVE_NS,
            **config,
        }
        body = {"stream_name": self._stream, "config": wanted}
        try:
            made = await ask(self._client, f"$JS.API.CONSUMER.CREATE.{self._stream}.{name}", body)
        except ApiError as err:
            raise Unavailable("event log", str(err)) from err
        return name, made["num_pending"]


def _with_guards(writes: Sequence[Write], guards: Guards) -> list[tuple[str, bytes, dict[str, str]]]:
    """Put each guard on the first write of its subject, those of other subjects on writes that have none."""
    missing = dict(guards)
    messages = []
    for write in writes:
        headers = {"Nats-Msg-Id": str(write.event_id)}
        if write.subject in missing:
            headers["Nats-Expected-Last-Subject-Sequence"] = str(missing.pop(write.subject))
        messages.append((write.subject, write.body, headers))
    written = {write.subject for write in writes}
    free = [headers for subject, _, headers in messages if subject not in guards]
    for subject, headers in zip(sorted(missing.keys() - written), free, strict=False):
        headers["Nats-Expected-Last-Subject-Sequence"] = str(missing.pop(subject))
        headers["Nats-Expected-Last-Subject-Sequence-Subject"] = subject
    if missing:
        raise ValueError(f"no message is left to carry the guards on {sorted(missing)}")
    return messages


def _header_id(block: str) -> UUID | None:
    lines = (line.split(":", 1) for line in block.splitlines() if ":" in line)
    return as_id({key.strip().lower(): value.strip() for key, value in lines}.get("nats-msg-id"))
