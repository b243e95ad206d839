"""A start that hangs is not over: who is late or second overwrites nothing, and nothing is said too early."""

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from events.desired import DesiredVm
from events.spec import DiskFormat
from services.hostd.core.domain import DomainState
from services.hostd.hypervisor import libvirt_driver
from services.hostd.hypervisor.blueprint import DiskFile
from services.hostd.hypervisor.disks import STALE_S, make_disk, size_of
from services.hostd.hypervisor.port import HypervisorRefused, NoAnswer
from tests.integration.hypervisor.world import RealWorld, an_own_entry
from tests.support.eventually import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]
MIB = 1024 * 1024
PATIENCE_S = 1.0
MAKERS_MAX = 8


class SlowQemuImg:
    """Makes what the real one makes, takes one further step, and does not end before it is let go."""

    def __init__(self, folder: Path) -> None:
        self._made, gate = folder / "made", folder / "gate"
        self._made.touch()
        os.mkfifo(gate)
        self._gate = os.open(gate, os.O_RDWR)
        self._script = folder / "qemu-img"
        self._text = (
            f'#!/bin/sh\n"{shutil.which("qemu-img")}" "$@" && {{step}} && echo made >> "{self._made}"'
        )
        self._text += f'\nhead -c1 "{gate}" > /dev/null\n'
        self.then("true")
        self._script.chmod(0o755)

    def then(self, step: str) -> None:
        """Have it take this step when its file is made."""
        self._script.write_text(self._text.format(step=step))

    async def made(self, times: int = 1) -> None:
        """Wait until so many files are made."""
        await eventually(lambda: self._made.read_text().count("made") == times, f"{times} made")

    def let_go(self) -> None:
        """Let those that wait end, and all after them."""
        os.write(self._gate, bytes(MAKERS_MAX))

    def close(self) -> None:
        """Hold up nobody."""
        self.let_go()
        os.close(self._gate)


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowQemuImg]:
    """Put a slow qemu-img before the real one."""
    folder = tmp_path / "bin"
    folder.mkdir()
    made = SlowQemuImg(folder)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    yield made
    made.close()


@pytest.fixture
def disk(tmp_path: Path) -> DiskFile:
    """A disk that is still to be made."""
    return DiskFile("data", tmp_path / "vm" / "data.qcow2", DiskFormat.QCOW2, 1, None)


async def test_a_try_that_comes_late_leaves_the_disk_in_use_alone(slow: SlowQemuImg, disk: DiskFile) -> None:
    late = asyncio.gather(asyncio.to_thread(make_disk, disk))
    await slow.made()
    disk.path.write_text("in use")
    slow.let_go()
    await late
    assert disk.path.read_text() == "in use"
    assert list(disk.path.parent.iterdir()) == [disk.path]


async def test_of_two_that_make_a_disk_at_once_one_makes_it_and_both_have_it(
    slow: SlowQemuImg, disk: DiskFile
) -> None:
    makers = asyncio.gather(*(asyncio.to_thread(make_disk, disk) for _ in range(2)))
    await slow.made(2)
    assert not disk.path.exists()
    slow.let_go()
    await makers
    assert size_of(disk.path, disk.format) == MIB
    assert list(disk.path.parent.iterdir()) == [disk.path]


async def test_only_drafts_that_nobody_can_still_be_at_are_removed(disk: DiskFile) -> None:
    disk.path.parent.mkdir()
    dead, others, alive = (
        disk.path.with_name(name)
        for name in (".data.qcow2.1.draft", ".other.qcow2.1.draft", ".data.qcow2.2.draft")
    )
    for path in (dead, others, alive):
        path.write_text("half")
    for path in (dead, others):
        before = path.stat().st_mtime - STALE_S - 1
        os.utime(path, (before, before))
    make_disk(disk)
    assert set(disk.path.parent.iterdir()) == {others, alive, disk.path}


async def nothing_is_said_or_done(world: RealWorld, entry: DesiredVm, what: str) -> None:
    """Whatever one asks or orders while its start hangs has no answer."""
    hypervisor, vm = world.hypervisor, entry.vm_id
    calls: list[Callable[[], object]] = [
        lambda: hypervisor.domain(vm),
        lambda: hypervisor.start(entry),
        lambda: hypervisor.power_off(vm),
        lambda: hypervisor.undefine(vm),
        lambda: hypervisor.remove_disks(entry),
    ]
    for call in calls:
        with pytest.raises(NoAnswer, match=what):
            await call()  # type: ignore[misc]


async def answers(world: RealWorld, entry: DesiredVm) -> bool:
    """Tell whether the hypervisor speaks of it again."""
    try:
        await world.hypervisor.domain(entry.vm_id)
    except NoAnswer:
        return False
    return True


async def test_nothing_is_said_of_a_guest_whose_disks_are_still_being_made(
    world: RealWorld, slow: SlowQemuImg, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libvirt_driver, "MAKE_TIMEOUT_S", PATIENCE_S)
    entry = an_own_entry(disks=[{"name": "data", "size_mib": 1}])
    with pytest.raises(NoAnswer, match="make_disks"):
        await world.hypervisor.start(entry)
    await nothing_is_said_or_done(world, entry, "make_disks")
    slow.let_go()
    await world.changes.until(lambda: answers(world, entry))
    assert await world.hypervisor.domain(entry.vm_id) is None
    assert (world.storage / str(entry.vm_id) / "data.qcow2").exists()
    await world.hypervisor.start(entry)
    await world.remove(entry)


async def test_nothing_is_said_of_a_guest_that_may_still_come_up(
    world: RealWorld, slow: SlowQemuImg, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first disk is on a file system that hangs once its second is made: a pipe nobody writes to."""
    monkeypatch.setattr(libvirt_driver, "START_TIMEOUT_S", PATIENCE_S)
    first = {"name": "first", "size_mib": 1, "format": "raw"}
    entry = an_own_entry(disks=[first, {"name": "second", "size_mib": 1}])
    folder = world.storage / str(entry.vm_id)
    folder.mkdir()
    disk, kept, pipe = folder / "first.raw", folder / "kept", folder / "pipe"
    disk.write_bytes(bytes(MIB))
    os.mkfifo(pipe)
    slow.then(f'mv "{disk}" "{kept}" && ln "{pipe}" "{disk}"')
    slow.let_go()
    with pytest.raises(NoAnswer, match="create"):
        await world.hypervisor.start(entry)
    await nothing_is_said_or_done(world, entry, "create")
    assert await world.qemus(entry.vm_id) == []

    kept.replace(disk)
    os.close(os.open(pipe, os.O_WRONLY))
    await world.changes.until(lambda: answers(world, entry))
    assert (await world.see(entry.vm_id)).state is DomainState.ACTIVE
    await world.remove(entry)
    assert not folder.exists()


async def test_disks_on_a_storage_that_is_not_mounted_are_not_taken_for_removed(world: RealWorld) -> None:
    entry = an_own_entry(disks=[{"name": "data", "size_mib": 1}])
    away = world.storage.with_name("away")
    world.storage.rename(away)
    for one in (entry, an_own_entry().model_copy(update={"made_disks": ("left-out",)})):
        with pytest.raises(HypervisorRefused, match=f"{world.storage} is not there"):
            await world.hypervisor.remove_disks(one)
    assert list(await world.hypervisor.remove_disks(an_own_entry())) == []  # it never had any
    away.rename(world.storage)
    assert list(await world.hypervisor.remove_disks(entry)) == []
