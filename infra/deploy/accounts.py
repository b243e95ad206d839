"""Write the accounts of NATS: who may say and hear what.

Hosts live in an account of their own and reach the log through service imports. Subject permissions alone
do not isolate them: within one account a host can make the server write an answer onto another host's
subject by naming it as reply (measured).
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from events import subjects
from events.ids import HostId

COMMAND_CONSUMER = "scheduler"

BATCHES_MAX, BATCH_IDLE_S = 1000, 2
"""Atomic batches that may be open on one stream, and how long one may wait for its next message.

Decisions are atomic batches, and whoever may write onto the stream may open some. With the server's own
values (50, and 10 s) five messages a second from one host held up every decision; with these it takes a
flood, which holds them up by its mere mass (measured: 2,000 a second delayed a decision by 0.7 s at most).
"""

_HOST_SIGNALS = (subjects.HEARTBEATS, subjects.STATISTICS)
"""What hosts say to whoever listens; nothing of it is stored."""

_CONSUMER_USE = (
    "$JS.API.CONSUMER.CREATE.{0}.>",
    "$JS.API.CONSUMER.DELETE.{0}.*",
    "$JS.API.CONSUMER.MSG.NEXT.{0}.*",
    "$JS.API.STREAM.INFO.{0}",
)


def _read(stream: str) -> list[str]:
    return [subject.format(stream) for subject in _CONSUMER_USE]


def _service(name: str) -> dict[str, list[str]]:
    """Give what each service may publish and subscribe to, beyond its own inbox."""
    publish: dict[str, list[str]] = {
        "bootstrap": [">"],
        "scheduler": [
            "evt.*.*.ctl",
            "evt.host.*.desired",
            "$JS.API.STREAM.MSG.GET.EVT",
            *_read("EVT"),
            "$JS.API.STREAM.INFO.CMD",
            f"$JS.API.CONSUMER.MSG.NEXT.CMD.{COMMAND_CONSUMER}",
            f"$JS.ACK.CMD.{COMMAND_CONSUMER}.>",
            f"$JS.API.CONSUMER.INFO.CMD.{COMMAND_CONSUMER}",
            subjects.service_lease("scheduler"),
            "$JS.API.STREAM.MSG.GET.LEASE",
        ],
        "projector": ["dead.*", "ended.*", "$JS.API.STREAM.MSG.GET.DEAD", *_read("EVT"), *_read("CMD")],
        "api": ["cmd.vm.*.*", "$JS.API.STREAM.MSG.GET.CMD", "$JS.API.STREAM.INFO.EVT"],
        "auditor": [*_read("EVT"), *_read("CMD"), f"$JS.API.CONSUMER.INFO.CMD.{COMMAND_CONSUMER}"],
    }
    subscribe: dict[str, list[str]] = {
        "bootstrap": [">"],
        "scheduler": [subjects.HEARTBEATS],
        "projector": [],
        "api": [*_HOST_SIGNALS, "ended.*"],
        "auditor": [],
    }
    return {"publish": publish[name], "subscribe": [f"_INBOX_{name}.>", *subscribe[name]]}


def _host(host_id: HostId) -> dict[str, list[str]]:
    consumer = subjects.desired_consumer(host_id)
    return {
        "publish": [
            f"evt.vm.*.{host_id}",
            subjects.host_fact(host_id),
            subjects.heartbeat(host_id),
            subjects.statistics(host_id),
            f"$JS.API.CONSUMER.MSG.NEXT.EVT.{consumer}",
            f"$JS.ACK.EVT.{consumer}.>",
        ],
        "subscribe": [f"_INBOX_{host_name(host_id)}.>"],
    }


def host_name(host_id: HostId) -> str:
    """Give the name by which a host connects; it prefixes the inbox for its answers."""
    return f"host-{host_id}"


_HOST_SERVICES: Sequence[Mapping[str, str]] = (
    {"service": "evt.*.*.*"},
    {"service": "$JS.API.CONSUMER.MSG.NEXT.EVT.*", "response_type": "stream"},
    {"service": "$JS.ACK.EVT.>"},
)


def accounts(services: Mapping[str, str], hosts: Mapping[HostId, str]) -> dict[str, Any]:
    """Describe the accounts of *services* (name to public key) and *hosts* (id to public key)."""
    return {
        "SYS": {},
        "ORCH": {
            "jetstream": "enabled",
            "users": [_user(key, _service(name)) for name, key in services.items()],
            "exports": [{**export, "accounts": ["HOSTS"]} for export in _HOST_SERVICES],
            "imports": [{"stream": {"account": "HOSTS", "subject": subject}} for subject in _HOST_SIGNALS],
        },
        "HOSTS": {
            "users": [_user(key, _host(host_id)) for host_id, key in sorted(hosts.items())],
            "exports": [{"stream": subject, "accounts": ["ORCH"]} for subject in _HOST_SIGNALS],
            "imports": [
                {"service": {"account": "ORCH", "subject": export["service"]}} for export in _HOST_SERVICES
            ],
        },
    }


def server_config(port: int, store: str, described: Mapping[str, Any]) -> str:
    """Write the configuration of one server. JSON is a subset of NATS's own format.

    `sync_interval: always` because the default acknowledges before anything is on disk and loses it in a
    power cut (measured: all of 4,608 acknowledged messages).
    """
    batches = {
        "timeout": f"{BATCH_IDLE_S}s",
        "max_inflight_per_stream": BATCHES_MAX,
        "max_inflight_total": 2 * BATCHES_MAX,
    }
    config = {
        "listen": f"127.0.0.1:{port}",
        "server_name": "roost-embedded",
        "max_payload": 1024 * 1024,
        "jetstream": {"store_dir": store, "sync_interval": "always", "limits": {"batch": batches}},
        "system_account": "SYS",
        "accounts": described,
    }
    return json.dumps(config, indent=1)


def _user(key: str, may: Mapping[str, list[str]]) -> dict[str, Any]:
    return {
        "nkey": key,
        "permissions": {"publish": {"allow": may["publish"]}, "subscribe": {"allow": may["subscribe"]}},
    }
