"""The streams and durable consumers of roost: made here and nowhere else, widened but never narrowed."""

from collections.abc import Mapping
from typing import Any

from nats.aio.client import Client

from events import subjects
from events.codec import BODY_MAX
from events.ids import HostId
from infra.deploy.accounts import COMMAND_CONSUMER
from infra.eventlog.jetstream import ApiError, ask

DAY_NS = 24 * 3600 * 10**9
ACK_WAIT_NS = 30 * 10**9
"""Longer than a leader's loss (9 s) and an append's patience together: nothing comes again too early."""

MESSAGE_MAX = BODY_MAX + 16 * 1024
"""Bytes of one message with its headers: what nobody would read need not be stored."""

LEASE_MAX_BYTES = 16 * 1024 * 1024
LEASE_MESSAGE_MAX = 4 * 1024
"""A lease is a few hundred bytes: there is room for tens of thousands."""

ERR_STREAM_NOT_FOUND = 10059
ERR_CONSUMER_NOT_FOUND = 10014


class Narrowing(Exception):
    """What is there allows more than what is asked for; taking that away could lose data."""


def streams(evt_max_bytes: int, cmd_max_bytes: int, replicas: int) -> Mapping[str, dict[str, Any]]:
    """Describe each stream. Full streams refuse (discard new): the oldest facts are not the least."""
    kept = {
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "num_replicas": replicas,
        "deny_delete": True,
        "deny_purge": True,
        "allow_direct": False,
        "max_msg_size": MESSAGE_MAX,
    }
    return {
        "EVT": {
            **kept,
            "subjects": [subjects.EVT_ALL],
            "max_bytes": evt_max_bytes,
            "allow_atomic": True,
            "duplicate_window": 10 * 60 * 10**9,
            "republish": {"src": ">", "dest": f"{subjects.LIVE}>"},
        },
        "CMD": {
            **kept,
            "subjects": [subjects.CMD_ALL],
            "max_bytes": cmd_max_bytes,
            "max_age": 30 * DAY_NS,
        },
        # What nobody could read must never hold up what can be read: the oldest of it goes.
        "DEAD": {
            **kept,
            "subjects": ["dead.*"],
            "max_bytes": cmd_max_bytes,
            "discard": "old",
            "deny_purge": False,
            "max_msg_size": -1,
        },
        # The last word on each lease. Nothing here may come or go but by a guarded write: no roll-ups, no
        # age, no time to live.
        "LEASE": {
            **kept,
            "subjects": [subjects.LEASE_ALL],
            "max_bytes": LEASE_MAX_BYTES,
            "max_msgs_per_subject": 1,
            "max_msg_size": LEASE_MESSAGE_MAX,
        },
    }


async def ensure_streams(client: Client, wanted: Mapping[str, dict[str, Any]]) -> None:
    """Make what is missing and widen what is there; raises Narrowing before anything is changed.

    Raises ApiError and Unavailable as well; repeating goes on where it ended.
    """
    found = {name: await _config(client, name) for name in wanted}
    for name, config in wanted.items():
        _refuse_narrowing(name, found[name] or {}, config)
    for name, config in wanted.items():
        there = found[name]
        if there is None:
            await ask(client, f"$JS.API.STREAM.CREATE.{name}", {"name": name, **config})
        else:
            await ask(client, f"$JS.API.STREAM.UPDATE.{name}", {**there, "name": name, **config})


async def _config(client: Client, name: str) -> dict[str, Any] | None:
    try:
        config: dict[str, Any] = (await ask(client, f"$JS.API.STREAM.INFO.{name}", {}))["config"]
    except ApiError as err:
        if err.code != ERR_STREAM_NOT_FOUND:
            raise
        return None
    return config


def _refuse_narrowing(name: str, there: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Compare each limit; zero and below mean that there is none."""
    for limit in ("max_bytes", "max_age", "num_replicas", "max_msg_size"):
        before, after = there.get(limit, wanted.get(limit, 0)), wanted.get(limit, 0)
        if after > 0 and (before <= 0 or after < before):
            has = before if before > 0 else "unlimited"
            raise Narrowing(f"stream {name}: {limit} is {has} and cannot become {after}; nothing was changed")
    lost = set(there.get("subjects", [])) - set(wanted["subjects"])
    if lost:
        raise Narrowing(f"stream {name} would lose the subjects {sorted(lost)}; nothing was changed")


async def ensure_command_consumer(client: Client) -> None:
    """Make the durable consumer through which every scheduler takes commands."""
    await _ensure_consumer(client, "CMD", COMMAND_CONSUMER, subjects.CMD_ALL, max_ack_pending=256)


async def ensure_host_consumer(client: Client, host_id: HostId) -> None:
    """Make the durable consumer through which *host_id* reads what it shall run, in order."""
    name = subjects.desired_consumer(host_id)
    await _ensure_consumer(client, "EVT", name, subjects.host_desired(host_id), max_ack_pending=1024)


async def _ensure_consumer(
    client: Client, stream: str, name: str, subject: str, *, max_ack_pending: int
) -> None:
    try:
        await ask(client, f"$JS.API.CONSUMER.INFO.{stream}.{name}", {})
    except ApiError as err:
        if err.code != ERR_CONSUMER_NOT_FOUND:
            raise
        config = {
            "durable_name": name,
            "ack_policy": "explicit",
            "ack_wait": ACK_WAIT_NS,
            "deliver_policy": "all",
            "filter_subject": subject,
            "max_deliver": -1,
            "max_ack_pending": max_ack_pending,
        }
        body = {"stream_name": stream, "config": config}
        await ask(client, f"$JS.API.CONSUMER.DURABLE.CREATE.{stream}.{name}", body)
