"""Full and broken disks, a panic: the guest stands still, QEMU says so, and the cause is told apart."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from events.desired import DesiredVm
from events.facts import PauseCause, StopCause
from events.spec import RunOnce
from infra.lab.failure import LabFailed
from infra.lab.lab import Lab
from services.hostd.core.domain import IoError, Panicked
from tests.integration.hypervisor.world import HOST, RealWorld, an_own_entry, in_host

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]
SMALL = "192k"
WRITES = "console=ttyS0 quiet panic=-1 roost.write=/dev/vda"
PANICS = "console=ttyS0 quiet panic=-1 roost.panic=1"


def the_writer(**fields: Any) -> DesiredVm:
    """A guest that writes to its disk once a second and says so."""
    entry = an_own_entry(disks=[{"name": "data", "size_mib": 8, "format": "raw"}], **fields)
    return entry.model_copy(update={"once": RunOnce(cmdline=WRITES)})


@pytest_asyncio.fixture(loop_scope="module")
async def small_disk(world: RealWorld, lab: Lab) -> AsyncIterator[Callable[[DesiredVm], Awaitable[Path]]]:
    """Put a VM's folder on a small file system, for the host's QEMU alone; it ends with the lab."""

    async def make(entry: DesiredVm) -> Path:
        folder = world.storage / str(entry.vm_id)
        folder.mkdir()
        await in_host(lab, "mount", "-t", "tmpfs", "-o", f"size={SMALL}", "none", str(folder))
        script = f'truncate -s 8M "{folder}/data.raw"'
        await in_host(lab, "sh", "-c", script)
        (folder / "data.raw").touch()  # what the adapter sees: there, and so not to be made
        return folder

    yield make


async def test_a_guest_on_a_full_file_system_stands_still_and_goes_on_when_there_is_room(
    world: RealWorld, lab: Lab, small_disk: Callable[[DesiredVm], Awaitable[Path]]
) -> None:
    entry = the_writer()
    folder = await small_disk(entry)
    await world.hypervisor.start(entry)
    vm = entry.vm_id
    found = await world.seen(vm, lambda domain: domain.paused is not None)
    assert found.paused is PauseCause.NO_SPACE
    assert await world.qemu_status(vm) == "io-error"
    happened = await world.happens(vm, IoError)
    assert happened == IoError(disk="data", reason="enospc", action="pause")
    written = world.serial(vm).count("wrote")
    assert written >= 1
    assert "could not write" not in world.serial(vm)
    assert {one.paused for one in await world.hypervisor.domains() if one.vm_id == vm} == {found.paused}

    await in_host(lab, "mount", "-o", "remount,size=16m", str(folder))
    await world.hypervisor.resume(vm)
    await world.says(vm, "wrote", times=written + 2)
    assert "could not write" not in world.serial(vm)  # the write that met no room was done again
    assert (await world.see(vm)).paused is None
    await world.hypervisor.power_off(vm)
    await in_host(lab, "umount", str(folder))
    await world.remove(entry)


async def test_a_guest_whose_disk_breaks_stands_still_for_another_cause(world: RealWorld) -> None:
    entry = the_writer()
    vm = entry.vm_id
    await world.hypervisor.start(entry)
    await world.says(vm, "wrote", times=1)
    await break_disk(world, entry)
    found = await world.seen(vm, lambda domain: domain.paused is not None)
    assert found.paused is PauseCause.IO_ERROR
    assert await world.qemu_status(vm) == "io-error"
    happened = await world.happens(vm, IoError)
    assert isinstance(happened, IoError)
    assert (happened.disk, happened.action) == ("data", "pause")
    assert happened.reason != "enospc"
    await world.remove(entry)


async def break_disk(world: RealWorld, entry: DesiredVm) -> None:
    """Have QEMU's own fault injector come between the disk and its file (QEMU, blkdebug)."""
    (block,) = [one for one in await world.qmp(entry.vm_id, "query-named-block-nodes") if one["drv"] == "raw"]
    (storage,) = [
        one for one in await world.qmp(entry.vm_id, "query-named-block-nodes") if one["drv"] == "file"
    ]
    fault = {"event": "pwritev", "errno": 5, "once": False}
    await world.qmp(
        entry.vm_id,
        "blockdev-add",
        **{
            "driver": "blkdebug",
            "node-name": "fault",
            "image": storage["node-name"],
            "inject-error": [fault],
        },
    )
    node = {"driver": "raw", "node-name": block["node-name"], "file": "fault"}
    await world.qmp(entry.vm_id, "blockdev-reopen", options=[node])


async def test_a_guest_that_panics_is_kept_to_be_looked_at_and_can_be_reset(world: RealWorld) -> None:
    entry = an_own_entry().model_copy(update={"once": RunOnce(cmdline=PANICS)})
    vm = entry.vm_id
    await world.hypervisor.start(entry)
    found = await world.seen(vm, lambda domain: domain.paused is not None)
    assert found.paused is PauseCause.CRASHED
    assert await world.qemu_status(vm) == "guest-panicked"
    await world.happens(vm, Panicked)
    before = world.serial(vm).count("roost-guest ready")
    await world.hypervisor.reset(vm)
    await world.hypervisor.resume(vm)
    await world.says(vm, "roost-guest ready", times=before + 1)
    await world.remove(entry)


@pytest.mark.parametrize("verb", ["ask_shutdown", "ask_reboot"])
async def test_a_guest_whose_agent_has_gone_hears_the_power_button(world: RealWorld, verb: str) -> None:
    entry = an_own_entry()
    vm = entry.vm_id
    await world.hypervisor.start(entry)
    await world.up(vm)
    killed = {"execute": "guest-exec", "arguments": {"path": "killall", "arg": ["qemu-ga"]}}
    with suppress(LabFailed):  # it may be gone before it has answered
        await world.lab.virsh(HOST, "qemu-agent-command", str(vm), json.dumps(killed))

    async def gone() -> bool:
        return not (await world.see(vm)).agent

    await world.changes.until(gone)
    assert not await world.hypervisor.agent_answers(vm)
    qemu = await world.qemu(vm)
    await getattr(world.hypervisor, verb)(vm)
    if verb == "ask_shutdown":
        assert (await world.off(vm)).cause is StopCause.GUEST
    else:
        await world.says(vm, "roost-guest ready", times=2)
        assert await world.qemu(vm) == qemu
        await world.up(vm)
    await world.remove(entry)
