"""Disks are made thin, once, whole or not at all; and no one removes what is not theirs."""

import asyncio
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from events.desired import DesiredVm
from events.effective import FailureCode
from events.spec import IMAGE_DISK, BootDevice, RunOnce
from services.hostd.hypervisor.port import HypervisorRefused, StartRefused
from tests.integration.hypervisor.world import BRIDGE, RealWorld, an_own_entry

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]
BASE_MIB = 8
MIB = 1024 * 1024


def qemu_img(*argv: str) -> str:
    return subprocess.run(["qemu-img", *argv], check=True, capture_output=True, text=True, timeout=20).stdout


async def info(path: Path) -> dict[str, Any]:
    """What qemu-img says of a disk, running or not."""
    said = await asyncio.to_thread(qemu_img, "info", "-U", "--output=json", str(path))
    found: dict[str, Any] = json.loads(said)
    return found


@pytest.fixture
def disk_image(world: RealWorld) -> str:
    """An image with a kernel and a disk that begins with a word."""
    folder = world.images / "with-disk"
    if not folder.exists():
        folder.mkdir()
        for name in ("vmlinuz", "initrd.img"):
            (folder / name).hardlink_to(world.images / "tiny" / name)
        raw = folder / "base.raw"
        raw.write_bytes(b"a word" + bytes(BASE_MIB * MIB - 6))
        qemu_img("convert", "-O", "qcow2", str(raw), str(folder / "base.qcow2"))
        manifest = json.loads((world.images / "tiny" / "image.json").read_text())
        (folder / "image.json").write_text(json.dumps(manifest | {"disk": "base.qcow2"}))
    return folder.name


def folder_of(world: RealWorld, entry: DesiredVm) -> Path:
    return world.storage / str(entry.vm_id)


async def test_disks_are_made_as_asked_used_again_and_removed(world: RealWorld, disk_image: str) -> None:
    base = world.images / disk_image / "base.qcow2"
    entry = an_own_entry(
        image=disk_image,
        nics=[{"network": BRIDGE}],
        graphics="vnc",
        disks=[
            {"name": "empty", "size_mib": 4},
            {"name": "thin", "base": disk_image, "size_mib": 16},
            {"name": "copy", "base": disk_image, "size_mib": 16, "format": "raw"},
            {"name": "plain", "size_mib": 4, "format": "raw"},
        ],
    )
    started = await world.hypervisor.start(entry)
    assert list(started.disks) == [IMAGE_DISK, "empty", "thin", "copy", "plain"]
    folder = folder_of(world, entry)
    names = [IMAGE_DISK, "empty", "thin", "copy", "plain"]
    assert [disk.name for disk in started.effective.disks] == names
    (nic,) = started.effective.nics
    assert (nic.network, nic.mac[:3]) == (BRIDGE, "02:")
    assert started.effective.graphics.endswith("vnc.sock")
    files = {path.stem: path for path in folder.iterdir()}
    assert sorted(files) == sorted(names)
    assert (await info(files[IMAGE_DISK]))["virtual-size"] == BASE_MIB * MIB
    assert (await info(files["thin"]))["virtual-size"] == 16 * MIB
    assert (await info(files["thin"]))["backing-filename"] == str(base)
    assert (await info(files["thin"]))["backing-filename-format"] == "qcow2"
    assert (await info(files["copy"]))["virtual-size"] == 16 * MIB
    assert files["copy"].read_bytes()[:6] == b"a word"
    assert files["copy"].stat().st_blocks * 512 < MIB
    asked = {one["inserted"]["file"] for one in await world.qmp(entry.vm_id, "query-block")}
    assert asked == {str(path) for path in files.values()}
    with pytest.raises(HypervisorRefused, match="in use"):
        await world.hypervisor.remove_disks(entry)

    await world.hypervisor.power_off(entry.vm_id)
    files["plain"].write_bytes(b"kept" + bytes(4 * MIB - 4))
    await world.hypervisor.start(entry.model_copy(update={"generation": 4, "made_disks": started.disks}))
    assert files["plain"].read_bytes()[:4] == b"kept"
    await world.hypervisor.power_off(entry.vm_id)
    await world.hypervisor.undefine(entry.vm_id)
    assert set(await world.hypervisor.remove_disks(entry)) == set(files.values())
    assert not folder.exists()
    assert base.exists()
    assert list(await world.hypervisor.remove_disks(entry)) == []


async def refused(world: RealWorld, entry: DesiredVm) -> list[tuple[FailureCode, str]]:
    with pytest.raises(StartRefused) as caught:
        await world.hypervisor.start(entry)
    return [(failure.code, failure.message) for failure in caught.value.failures]


async def test_a_disk_that_is_gone_is_never_made_anew(world: RealWorld) -> None:
    entry = an_own_entry(disks=[{"name": "data", "size_mib": 1}])
    ((code, message),) = await refused(world, entry.model_copy(update={"made_disks": ("data",)}))
    assert code is FailureCode.DISK_MISSING
    assert f"{folder_of(world, entry)}/data.qcow2" in message
    assert not folder_of(world, entry).exists()


async def test_disks_that_cannot_be_made_or_used_are_refused(world: RealWorld, disk_image: str) -> None:
    small = an_own_entry(disks=[{"name": "data", "size_mib": BASE_MIB - 1, "base": disk_image}])
    ((code, message),) = await refused(world, small)
    assert code is FailureCode.DISK
    assert f"size_mib is {BASE_MIB - 1}, below its base's {BASE_MIB}" in message
    no_base = an_own_entry(disks=[{"name": "data", "base": "tiny"}])
    assert "image 'tiny' has no disk" in (await refused(world, no_base))[0][1]

    entry = an_own_entry(disks=[{"name": "data", "size_mib": 1}])
    folder = folder_of(world, entry)
    folder.mkdir()
    (folder / "data.qcow2").write_text("nothing that QEMU would read")
    ((code, message),) = await refused(world, entry)
    assert (code, "not a qcow2" in message) == (FailureCode.DISK, True)
    (folder / "data.qcow2").unlink()
    (folder / "data.qcow2").symlink_to("/etc/hostname")
    assert "symbolic link" in (await refused(world, entry))[0][1]


async def test_half_a_disk_of_a_start_that_died_is_made_again_whole(world: RealWorld) -> None:
    entry = an_own_entry(disks=[{"name": "data", "size_mib": 1}])
    folder = folder_of(world, entry)
    folder.mkdir()
    (folder / ".data.qcow2.1.draft").write_text("half")
    os.utime(folder / ".data.qcow2.1.draft", (0, 0))
    await world.hypervisor.start(entry)
    assert [path.name for path in folder.iterdir()] == ["data.qcow2"]
    assert (await info(folder / "data.qcow2"))["virtual-size"] == MIB
    await world.remove(entry)


def torn_image(world: RealWorld, disk_image: str) -> str:
    """Lay out an image whose disk's header says qcow2, and the rest of it is not."""
    folder = world.images / "torn"
    folder.mkdir(exist_ok=True)
    base = (world.images / disk_image / "base.qcow2").read_bytes()
    (folder / "base.qcow2").write_bytes(base[:48] + b"\xff" * 60)
    (folder / "image.json").write_text('{"disk": "base.qcow2"}')
    return folder.name


async def test_a_disk_that_qemu_img_cannot_make_leaves_nothing_behind(
    world: RealWorld, disk_image: str
) -> None:
    torn = torn_image(world, disk_image)
    entry = an_own_entry(disks=[{"name": "data", "base": torn, "format": "raw"}])
    ((code, message),) = await refused(world, entry)
    assert (code, "cannot be made" in message) == (FailureCode.DISK, True)
    assert not (folder_of(world, entry) / "data.raw").exists()


async def test_what_was_made_before_a_disk_that_cannot_be_is_told(world: RealWorld, disk_image: str) -> None:
    """Else nobody would know of it, and no delete would remove it."""
    torn = torn_image(world, disk_image)
    disks = [{"name": "first", "size_mib": 1}, {"name": "data", "base": torn, "format": "raw"}]
    entry = an_own_entry(disks=disks)
    with pytest.raises(StartRefused) as refusal:
        await world.hypervisor.start(entry)
    assert refusal.value.disks == ("first",)
    assert [path.name for path in await world.hypervisor.remove_disks(entry)] == ["first.qcow2"]


async def test_removing_follows_no_link_out_of_the_storage(world: RealWorld, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    entry = an_own_entry(disks=[{"name": "data", "size_mib": 1}])
    folder = folder_of(world, entry)
    folder.symlink_to(outside)
    with pytest.raises(HypervisorRefused, match="symbolic link"):
        await world.hypervisor.remove_disks(entry)
    folder.unlink()
    folder.mkdir()
    (folder / "link").symlink_to(outside)
    assert list(await world.hypervisor.remove_disks(entry)) == [folder / "link"]
    assert (outside / "precious").read_text() == "x"


@pytest.mark.parametrize("machine", ["pc", "q35"])
async def test_qemu_is_told_what_to_boot_from_and_in_which_order(world: RealWorld, machine: str) -> None:
    folder = world.images / f"installer-{machine}"
    folder.mkdir()
    (folder / "installer.iso").write_bytes(bytes(MIB))
    (folder / "image.json").write_text('{"cd": "installer.iso"}')
    entry = an_own_entry(
        image=folder.name,
        machine=machine,
        nics=[{"network": BRIDGE}],
        disks=[{"name": "data", "size_mib": 1}],
    )
    once = RunOnce(boot=(BootDevice.CD, BootDevice.NETWORK, BootDevice.DISK))
    for run, kinds in ((None, ["disk", "cd"]), (once, ["cd", "nic", "disk"])):
        started = await world.hypervisor.start(entry.model_copy(update={"once": run}))
        assert [(disk.name, disk.read_only) for disk in started.effective.disks] == [
            ("data", False),
            ("cdrom", True),
        ]
        assert await boot_order(world, entry) == kinds
        await world.hypervisor.power_off(entry.vm_id)
    await world.remove(entry)


async def boot_order(world: RealWorld, entry: DesiredVm) -> list[str]:
    """What QEMU was told to boot from, by the numbers on its own command line."""
    arguments = Path(f"/proc/{await world.qemu(entry.vm_id)}/cmdline").read_text().split("\0")
    devices = [json.loads(one) for one in arguments if one.startswith("{") and '"bootindex"' in one]
    kinds = {"virtio-blk-pci": "disk", "virtio-net-pci": "nic", "ide-cd": "cd"}
    return [kinds[one["driver"]] for one in sorted(devices, key=lambda one: int(one["bootindex"]))]
