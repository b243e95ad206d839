"""What roost does while NATS or PostgreSQL is away, and what becomes of bytes that nobody can read."""

import asyncio
import http.client
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from nats.aio.client import Client

from events import subjects
from events.ids import CommandId, VmId
from infra.deploy.identities import ensure_identity, seed_file
from infra.dev.stack import Stack
from infra.eventlog.connection import closer, connect
from tests.e2e.world import done, in_phase, roost, vm, world
from tests.support.eventually import eventually

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(180),
    pytest.mark.drives_processes,
]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stack() -> AsyncIterator[Stack]:
    async with world("sim") as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def admin(stack: Stack) -> AsyncIterator[Client]:
    client = await connect(stack.nats.url, seed_file(stack.keys, "bootstrap"), "bootstrap", lambda _: None)
    yield client
    await closer(client)()


async def make(stack: Stack, name: str) -> None:
    await done(stack, *f"vm create {name} --image tiny --cpu 1 --memory 128M".split())


async def test_postgresql_dies_and_no_command_is_refused(stack: Stack) -> None:
    await make(stack, "no-rows")
    vm_id = (await vm(stack, "no-rows"))["id"]
    assert stack.postgres.process is not None
    stack.postgres.process.kill()
    status, body = await _post(stack, f"/vms/{vm_id}/actions/start")
    assert (status, body["state"]) == (202, "pending")
    assert (await roost(stack, "vm", "list")).code == 6

    async def said_not_ready() -> bool:
        return (await _get(stack, "/readyz"))[0] == 503

    await eventually(said_not_ready, "the API says that it is not ready")
    stack.postgres.start()
    await in_phase(stack, "no-rows", "running")
    assert (await done(stack, "op", "wait", body["id"])).code == 0


async def test_nats_dies_and_what_was_accepted_is_done_once(stack: Stack) -> None:
    await make(stack, "no-log")
    vm_id = (await vm(stack, "no-log"))["id"]
    assert stack.nats.process is not None
    stack.nats.process.kill()
    status, body = await _post(stack, f"/vms/{vm_id}/actions/start", key="the-same-key")
    assert (status, body["code"]) == (503, "log_unavailable")
    stack.nats.start({host.host_id: _public_key(stack, f"host-{host.host_id}") for host in stack.hosts})

    async def accepted() -> bool:
        return (await _post(stack, f"/vms/{vm_id}/actions/start", key="the-same-key"))[0] == 202

    await eventually(accepted, "the same request is accepted")
    await in_phase(stack, "no-log", "running")
    operations = (await done(stack, "op", "list", "-o", "json")).json["items"]
    starts = [one for one in operations if one["target"]["id"] == vm_id and one["verb"] == "start"]
    assert [one["state"] for one in starts] == ["succeeded"]


async def test_every_service_dies_and_the_next_command_is_carried_out(stack: Stack) -> None:
    await make(stack, "survivor")
    for name in ("scheduler", "projector", "api", "hosts"):
        child = stack.children.children[name]
        before = child.restarts
        assert child.process is not None
        child.process.popen.kill()

        async def restarted(child: Any = child, before: int = before) -> bool:
            return bool(child.restarts > before)

        await eventually(restarted, f"{name} started again")
    await stack.children.ready()
    await done(stack, "vm", "start", "survivor")
    await in_phase(stack, "survivor", "running")


async def test_bad_bytes_are_parked_and_the_streams_go_on(stack: Stack, admin: Client) -> None:
    vm_id, command_id = VmId(UUID(int=7)), CommandId(UUID(int=8))
    await admin.request(subjects.command(vm_id, command_id), b"\xff\x00 no command", timeout=5)
    await admin.request(subjects.vm_ctl(VmId(UUID(int=9))), b"{no event", timeout=5)
    await make(stack, "after-bad-bytes")
    await done(stack, "vm", "start", "after-bad-bytes")

    async def parked() -> bool:
        answer = await admin.request("$JS.API.STREAM.INFO.DEAD", b"", timeout=5)
        return bool(json.loads(answer.data)["state"]["messages"] >= 2)

    await eventually(parked, "both lie on DEAD")
    ended = (await done(stack, "op", "show", f"op_{command_id}", "-o", "json")).json
    assert (ended["state"], ended["error"]["code"]) == ("failed", "unreadable_command")


async def test_the_same_key_twice_is_one_command(stack: Stack) -> None:
    spec = {"name": "twice", "vcpus": 1, "memory_mib": 128, "image": "tiny"}
    answers = await asyncio.gather(*(_post(stack, "/vms?wait=10", spec, key="k") for _ in range(4)))
    assert {status for status, _ in answers} == {202}
    assert len({body["target"]["id"] for _, body in answers}) == 1
    status, body = await _post(stack, "/vms", {**spec, "name": "other"}, key="k")
    assert (status, body["code"]) == (422, "key_reused")


async def test_a_full_cluster_refuses_with_the_reason_of_each_host(stack: Stack) -> None:
    await done(stack, *["vm", "create", "huge", "--image", "tiny", "--cpu", "1", "--memory", "4000G"])
    said = await roost(stack, "vm", "start", "huge")
    assert said.code == 8
    assert all(host.name in said.err for host in stack.hosts)
    assert "memory" in said.err


async def test_an_unknown_vm_is_not_found(stack: Stack) -> None:
    assert (await roost(stack, "vm", "start", "nobody")).code == 3
    status, body = await _post(stack, f"/vms/vm_{UUID(int=1)}/actions/start")
    assert (status, body["code"]) == (404, "no_such_vm")


def _public_key(stack: Stack, name: str) -> str:
    return ensure_identity(stack.keys, name)


async def _post(
    stack: Stack, path: str, body: dict[str, Any] | None = None, key: str | None = None
) -> tuple[int, dict[str, Any]]:
    headers = {"Authorization": f"Bearer {stack.token}", "Content-Type": "application/json"}
    if key is not None:
        headers["Idempotency-Key"] = key
    return await asyncio.to_thread(_call, stack, "POST", f"/api/v1{path}", json.dumps(body or {}), headers)


async def _get(stack: Stack, path: str) -> tuple[int, dict[str, Any]]:
    return await asyncio.to_thread(_call, stack, "GET", path, None, {})


def _call(
    stack: Stack, method: str, path: str, body: str | None, headers: dict[str, str]
) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", stack.api_port, timeout=30)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    found: dict[str, Any] = json.loads(answer.read())
    connection.close()
    return answer.status, found
