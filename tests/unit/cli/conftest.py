"""`roost` against a server of canned answers on a real socket."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from services.cli import client, main

VM = "vm_11111111-1111-4111-8111-111111111111"
OTHER = "vm_22222222-2222-4222-8222-222222222222"
HOST = "host_33333333-3333-4333-8333-333333333333"
OP = "op_44444444-4444-4444-8444-444444444444"
NOON, LATER = "2026-01-02T12:00:00Z", "2026-01-02T12:00:00.250Z"

Json = dict[str, Any]
Answer = tuple[int, Json]


def spec(name: str = "web-01", **more: Any) -> Json:
    return {
        "name": name,
        "vcpus": 2,
        "memory_mib": 1536,
        "image": "tiny",
        "vcpus_max": None,
        "machine": None,
        "cpu_model": None,
        "disks": [],
        "nics": [],
        "graphics": "none",
        "persistent": True,
        "on_io_error": "auto_resume",
        "agent_wait_s": 120.0,
        "priority": 50,
        "placement": {
            "require_labels": [],
            "forbid_labels": [],
            "hosts": [],
            "prefer_hosts": [],
            "groups": [],
        },
        **more,
    }


def vm(id_: str = VM, name: str = "web-01", phase: str = "running", **more: Any) -> Json:
    return {
        "id": id_,
        "name": name,
        "phase": phase,
        "desired": "running",
        "vcpus": 2,
        "memory_mib": 1536,
        "image": "tiny",
        "host": {"id": HOST, "name": "host-1"},
        "generation": 1,
        "last_stop": None,
        "created_at": NOON,
        "changed_at": NOON,
        "allowed_verbs": ["stop", "power_off"],
        "spec": spec(name),
        "pending_changes": [],
        "pause_cause": None,
        "responding": True,
        "agent": True,
        "effective": None,
        "last_failure": None,
        **more,
    }


def effective() -> Json:
    return {
        "machine": "pc-q35-7.2",
        "cpu": "host-model",
        "clock": "utc",
        "vcpus": 2,
        "vcpus_max": 4,
        "memory_mib": 1536,
        "boot": "kernel",
        "controllers": ["virtio-serial", "pcie-root"],
        "video": "none",
        "graphics": "none",
        "rng": "virtio",
        "balloon": "virtio",
        "agent_channel": "org.qemu.guest_agent.0",
        "serial_log": "/var/log/serial.log",
        "disks": [
            {"name": "image", "target": "vda", "path": "/i.qcow2", "format": "qcow2", "read_only": False},
            {"name": "rescue", "target": "sda", "path": "/r.iso", "format": "raw", "read_only": True},
        ],
        "nics": [{"network": "br0", "mac": "52:54:00:12:34:56", "model": "virtio"}],
    }


def host() -> Json:
    return {
        "id": HOST,
        "name": "host-1",
        "state": "up",
        "last_heartbeat_age_s": 0.4,
        "capacity": {"vcpus": 8, "memory_mib": 4096},
        "allocated": {"vcpus": 2, "memory_mib": 1536},
        "free": {"vcpus": 6, "memory_mib": 2560},
        "vms": 1,
        "cores": 2,
        "physical_memory_mib": 6144,
        "versions": {"roost": "0.1.0", "qemu": "7.2.0"},
        "machine": None,
        "reported_at": NOON,
    }


def operation(state: str = "succeeded", verb: str = "start", **more: Any) -> Json:
    return {
        "id": OP,
        "verb": verb,
        "target": {"kind": "vm", "id": VM},
        "state": state,
        "requested_by": "admin",
        "accepted_at": NOON,
        "ended_at": LATER if state in {"succeeded", "failed"} else None,
        "seq": 9,
        "note": None,
        "error": None,
        "steps": [{"seq": 9, "type": "vm.placed", "subject": f"evt.vm.{VM[3:]}.ctl", "time": NOON}],
        **more,
    }


def event() -> Json:
    return {
        "seq": 9,
        "subject": f"evt.vm.{VM[3:]}.ctl",
        "id": "55555555-5555-4555-8555-555555555555",
        "type": "vm.placed",
        "time": NOON,
        "actor": "admin",
        "causation": OP[3:],
        "correlation": OP[3:],
        "vm": VM,
        "host": None,
        "event": {},
    }


def problem(status: int, code: str, detail: str = "it is so", **more: Any) -> Answer:
    return status, {
        "type": f"/docs/errors#{code}",
        "title": "No",
        "status": status,
        "detail": detail,
        "code": code,
        "hint": "do something else",
        "request_id": "req_1",
        **more,
    }


def page(*items: Json) -> Answer:
    return 200, {"items": list(items), "next_cursor": None}


@dataclass
class Server:
    """Answers by `METHOD /path`; a list is handed out one by one, the last one for ever."""

    url: str = ""
    answers: dict[str, Answer | list[Answer]] = field(default_factory=dict)
    seen: list[tuple[str, dict[str, str], dict[str, str], Any]] = field(default_factory=list)

    def answer(self, asked: str) -> Answer:
        found = self.answers.get(asked, problem(404, "no_such_route"))
        if isinstance(found, list):
            return found.pop(0) if len(found) > 1 else found[0]
        return found

    def asked(self, what: str) -> list[tuple[str, dict[str, str], dict[str, str], Any]]:
        return [one for one in self.seen if one[0] == what]


@dataclass(frozen=True)
class Said:
    """What one command line did."""

    code: int
    out: str
    err: str


@pytest.fixture
def server() -> Iterator[Server]:
    canned = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            to = urlsplit(self.path)
            asked = f"{self.command} {to.path.removeprefix('/api/v1')}"
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            sent = json.loads(body) if body else None
            canned.seen.append((asked, dict(self.headers), dict(parse_qsl(to.query)), sent))
            status, answer = canned.answer(asked)
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            """Stay quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        canned.url = f"http://127.0.0.1:{listening.server_port}"
        thread = threading.Thread(target=lambda: listening.serve_forever(poll_interval=0.01))
        thread.start()
        yield canned
        listening.shutdown()
        thread.join()


class Roost:
    """The command line, run in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Said:
        code = main.run(list(arguments))
        out, err = self._capsys.readouterr()
        return Said(code, out, err)


@pytest.fixture
def roost(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Roost:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROOST_URL", server.url)
    monkeypatch.setenv("ROOST_TOKEN", "let-me-in")
    monkeypatch.delenv("ROOST_TOKEN_FILE", raising=False)
    monkeypatch.setattr(client, "RETRY_FOR_S", 0.5)
    server.answers |= {
        "GET /vms": page(vm(OTHER, "web-02", "stopped"), vm()),
        f"GET /vms/{VM}": (200, vm()),
        "GET /hosts": page(host()),
        f"GET /hosts/{HOST}": (200, host()),
        "GET /operations": page(operation()),
        f"GET /operations/{OP}": (200, operation()),
        "GET /events": (200, {"items": [event()], "next_after": 9}),
        f"GET /vms/{VM}/history": (200, {"items": [event()], "next_after": 9}),
        "GET /version": (200, {"name": "roost", "version": "9.9.9", "api": "v1"}),
        "POST /vms": (202, operation("pending", "create")),
        f"POST /vms/{VM}/actions/start": (202, operation("pending")),
        f"POST /vms/{VM}/actions/stop": (202, operation("pending", "stop")),
        **{
            f"POST /vms/{VM}/actions/{action}": (202, operation("pending", action))
            for action in ("power-off", "reboot", "reset", "pause", "resume")
        },
        f"PATCH /vms/{VM}": (202, operation("pending", "update")),
        "GET /verbs": (200, {"verbs": {"power_off": {"stopped": "already", "running": "do"}}}),
        f"DELETE /vms/{VM}": (202, operation("pending", "delete")),
    }
    return Roost(capsys)
