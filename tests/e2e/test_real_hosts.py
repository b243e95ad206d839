"""The main job on real parts: NATS, PostgreSQL, libvirt and QEMU, driven by the command line."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from infra.dev.stack import Stack
from tests.e2e.world import done, in_phase, qemu_of, roost, vm, world
from tests.support.eventually import eventually

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(180),
    pytest.mark.drives_processes,
]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stack() -> AsyncIterator[Stack]:
    async with world("libvirt") as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def running_vm(stack: Stack, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """Start a VM; stop and delete it afterwards."""
    name = request.node.name.removeprefix("test_").replace("_", "-")[:40].strip("-")
    await done(stack, *f"vm create {name} --image tiny --cpu 1 --memory 128M".split())
    await done(stack, "vm", "start", name)
    yield name
    await done(stack, "vm", "stop", name, "--force")
    await done(stack, "vm", "delete", name)


async def test_a_vm_lives_its_whole_life(stack: Stack) -> None:
    await done(stack, *["vm", "create", "life", "--image", "tiny", "--cpu", "1", "--memory", "128M"])
    assert (await vm(stack, "life"))["phase"] == "stopped"
    await done(stack, "vm", "start", "life")
    (qemu,) = qemu_of(stack)
    shown = await vm(stack, "life")
    raw_id = shown["id"].removeprefix("vm_")
    assert raw_id in Path(f"/proc/{qemu}/cmdline").read_text()
    assert await _qemu_says(stack, shown["host"]["name"], raw_id) == "running"
    await in_phase(stack, "life", "running")
    await done(stack, "vm", "stop", "life")
    assert qemu_of(stack) == ()
    shown = await vm(stack, "life")
    assert (shown["phase"], shown["last_stop"], shown["host"]) == ("stopped", "commanded", None)
    await done(stack, "vm", "delete", "life")
    assert (await roost(stack, "vm", "show", "life")).code == 3
    history = (await done(stack, "vm", "history", shown["id"], "-o", "json")).json
    types = [event["type"] for event in history["items"]]
    assert [kind for kind in types if kind.startswith("vm.")] == [
        "vm.created",
        "vm.placed",
        "vm.starting",
        "vm.booting",
        "vm.running",
        "vm.stop_requested",
        "vm.stopping",
        "vm.stopped",
        "vm.released",
        "vm.deleted",
    ]
    assert types.count("command.ended") == 4


async def test_libvirtd_dies_and_the_guest_does_not(stack: Stack, running_vm: str) -> None:
    assert stack.lab is not None
    before = qemu_of(stack)
    host = (await vm(stack, running_vm))["host"]["name"]
    await stack.lab.kill_libvirtd(host)
    await stack.lab.wait_answering(host)
    await in_phase(stack, running_vm, "running")
    assert qemu_of(stack) == before
    await done(stack, "vm", "stop", running_vm)
    assert qemu_of(stack) == ()


async def test_hostd_dies_and_the_guest_does_not(stack: Stack, running_vm: str) -> None:
    before = qemu_of(stack)
    host = (await vm(stack, running_vm))["host"]["name"]
    daemon = stack.children.children[host]
    restarts = daemon.restarts
    os.kill(daemon.pid, signal.SIGKILL)

    async def restarted() -> bool:
        return daemon.restarts > restarts

    await eventually(restarted, "hostd started again")
    await in_phase(stack, running_vm, "running")
    assert qemu_of(stack) == before
    await done(stack, "vm", "stop", running_vm)
    assert qemu_of(stack) == ()


async def test_a_qemu_that_dies_is_seen_and_its_room_given_back(stack: Stack) -> None:
    await done(stack, *["vm", "create", "victim", "--image", "tiny", "--cpu", "1", "--memory", "128M"])
    await done(stack, "vm", "start", "victim")
    (qemu,) = qemu_of(stack)
    os.kill(qemu, signal.SIGKILL)
    await in_phase(stack, "victim", "stopped")
    assert (await vm(stack, "victim"))["last_stop"] in {"crashed", "lost"}

    async def given_back() -> bool:
        hosts = (await done(stack, "host", "list", "-o", "json")).json["items"]
        return all(host["vms"] == 0 for host in hosts)

    await eventually(given_back, "no reservation left")
    await done(stack, "vm", "start", "victim")
    assert len(qemu_of(stack)) == 1
    await done(stack, "vm", "stop", "victim", "--force")
    await done(stack, "vm", "delete", "victim")


async def test_a_start_that_libvirt_refuses_ends_in_a_named_failure(stack: Stack) -> None:
    await done(
        stack, *["vm", "create", "nothing", "--image", "no-such-image", "--cpu", "1", "--memory", "128M"]
    )
    said = await roost(stack, "vm", "start", "nothing")
    assert said.code == 1
    assert "no image 'no-such-image'" in said.err
    assert (await vm(stack, "nothing"))["phase"] == "stopped"
    await done(stack, "vm", "delete", "nothing")


async def _qemu_says(stack: Stack, host: str, domain: str) -> str:
    assert stack.lab is not None
    answer = await asyncio.wait_for(
        stack.lab.virsh(host, "qemu-monitor-command", domain, '{"execute":"query-status"}'), 10
    )
    status: str = json.loads(answer)["return"]["status"]
    return status
