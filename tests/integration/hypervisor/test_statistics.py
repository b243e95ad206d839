"""A real guest's figures as libvirt tells them; what is not ours is named, and not counted."""

import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import libvirt
import pytest
import pytest_asyncio

from events.ids import Generation, VmId
from events.statistics import VmStatistics
from events.values import Resources
from infra.lab.guest import build_guest
from infra.lab.lab import Lab
from infra.lab.processes import arguments
from infra.runtime.errors import Unavailable
from infra.runtime.ids import random_id
from infra.runtime.workers import Workers
from services.hostd.hypervisor import libvirt_statistics
from services.hostd.hypervisor.domain_xml import NAMESPACE
from services.hostd.hypervisor.libvirt_machine import machine, processor
from services.hostd.hypervisor.libvirt_statistics import ASKING_MAX, LibvirtStatistics, read
from services.hostd.hypervisor.port import Machine
from tests.integration.lab.tiny import DOMAIN, GUEST_CACHE
from tests.support.eventually import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")
HOST = "host-1"
CALL_S = 30.0
HANGS_S = 1.0
"""A look that takes longer waits for a guest: it takes some milliseconds."""
GROWS_S = 40.0
DISK_BYTES = 4 * 1024 * 1024
DEVICES = """
<disk type='file' device='disk'>
  <driver name='qemu' type='raw'/><source file='{disk}'/><target dev='vda' bus='virtio'/>
</disk>
<interface type='ethernet'><target dev='rtap0'/><model type='virtio'/></interface>
<memballoon model='virtio'><stats period='1'/></memballoon>
</devices>
"""

T = TypeVar("T")


@dataclass
class World:
    """One libvirt host with a guest of ours and one of somebody else's."""

    lab: Lab
    images: Path
    workers: Workers
    statistics: LibvirtStatistics
    vm: VmId
    foreign: str

    async def call(self, what: Callable[[Any], T]) -> T:
        """Call what blocks, on a thread and a connection of its own."""

        def connected() -> T:
            connection = libvirt.open(self.lab.host(HOST).uri)
            try:
                return what(connection)
            finally:
                connection.close()

        return await self.workers.run(CALL_S, connected)

    async def start(self, vm: VmId) -> None:
        """Start one more guest of ours, without disks."""
        await self.call(create(ours(domain(self.images, self.lab.host(HOST).dir, f"vm-{vm}", str(vm)))))

    async def all(self) -> Mapping[VmId, VmStatistics]:
        """Give the figures of all of our guests."""
        return {found.vm_id: found for found in await self.statistics.statistics()}

    async def one(self) -> VmStatistics:
        """Give the figures of our guest, the only one that there are figures of."""
        (found,) = (await self.all()).values()
        return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    images = build_guest(out=tmp_path_factory.mktemp("guest"), cache=GUEST_CACHE).parent
    async with await Lab.start(images=images, hosts=1) as lab:
        host = lab.host(HOST)
        workers, statistics = Workers("test", 1), LibvirtStatistics(host.uri)
        made = World(lab, images, workers, statistics, VmId(random_id()), str(random_id()))
        (host.dir / "disk.raw").write_bytes(bytes(DISK_BYTES))
        devices = DEVICES.format(disk=host.dir / "disk.raw")
        xml = ours(domain(images, host.dir, "ours", str(made.vm)))
        await made.call(create(xml.replace("</devices>", devices)))
        await made.call(create(domain(images, host.dir, "theirs", made.foreign)))
        yield made
        statistics.close()
        workers.close()


def destroy(vm: VmId) -> Callable[[Any], object]:
    """End a guest."""
    return lambda connection: connection.lookupByUUIDString(str(vm)).destroy()


def ours(xml: str) -> str:
    """Give a domain two vCPUs, and roost's mark."""
    mark = f"<metadata><roost:vm xmlns:roost='{NAMESPACE}' generation='3'/></metadata>"
    return xml.replace("<os>", f"{mark}<vcpu>2</vcpu><os>")


def create(xml: str) -> Callable[[Any], object]:
    """Have the domain *xml* run."""
    return lambda connection: connection.createXML(xml)


def domain(images: Path, folder: Path, name: str, uuid: str) -> str:
    """Describe the tiny guest."""
    cmdline = json.loads((images / "tiny" / "image.json").read_text())["cmdline"]
    text = DOMAIN.format(
        name=name, image=images / "tiny", cmdline=cmdline, serial=folder / f"{name}.log", channel="x.0"
    )
    return text.replace("</name>", f"</name><uuid>{uuid}</uuid>")


async def test_a_guests_figures_are_there_and_grow(world: World) -> None:
    first = await world.one()
    assert (first.vm_id, first.generation, first.vcpus) == (world.vm, 3, 2)

    async def grown() -> bool:
        now = await world.one()
        booted = now.memory.unused_kib is not None and now.disks[0].read_bytes > 0
        return booted and now.cpu_seconds > first.cpu_seconds

    await eventually(grown, "the guest has used its processor, its disk and told of its memory", GROWS_S)
    now = await world.one()
    assert now.memory.maximum_kib == now.memory.current_kib == 128 * 1024
    assert now.memory.rss_kib is not None
    assert now.memory.available_kib is not None
    assert now.memory.available_kib <= 128 * 1024
    assert now.cpu_steal_seconds is not None
    (disk,) = now.disks
    assert (disk.target, Path(disk.path).name) == ("vda", "disk.raw")
    assert (disk.capacity_bytes, disk.read_requests > 0, disk.read_seconds > 0) == (DISK_BYTES, True, True)
    assert [nic.device for nic in now.nics] == ["rtap0"]


async def test_guests_that_hang_hold_up_nobody_for_long_and_the_others_are_told_of_in_full(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libvirt_statistics, "LOOK_TIMEOUT_S", HANGS_S)
    lives = VmId(random_id())
    await world.start(lives)
    before = await world.all()
    assert len(before) == 2
    (hangs,) = [pid for pid in world.lab.qemu_pids(HOST) if str(world.vm) in " ".join(arguments(pid))]
    os.kill(hangs, signal.SIGSTOP)
    try:
        for _ in range(ASKING_MAX + 2):
            now = await world.all()
            assert now[lives].memory.rss_kib is not None, "it was asked"
            assert now[world.vm].disks == (), "what is not known is not 0"
            assert now[world.vm].cpu_seconds >= before[world.vm].cpu_seconds
    finally:
        os.kill(hangs, signal.SIGCONT)

    async def tells_of_its_disk() -> bool:
        return bool((await world.all())[world.vm].disks)

    await eventually(tells_of_its_disk, "a guest that goes on tells everything again", GROWS_S)
    await world.call(destroy(lives))


async def test_when_everything_hangs_what_libvirt_knows_is_told_of_all(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libvirt_statistics, "LOOK_TIMEOUT_S", HANGS_S)
    more = [VmId(random_id()) for _ in range(ASKING_MAX)]
    for vm in more:
        await world.start(vm)
    pids = world.lab.qemu_pids(HOST)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        for _ in range(2):
            now = await world.all()
            assert now.keys() == {world.vm, *more}
            assert all(one.cpu_seconds > 0 and one.memory.maximum_kib for one in now.values())
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    for vm in more:
        await world.call(destroy(vm))


async def test_statistics_outlive_libvirtd(world: World) -> None:
    await world.lab.kill_libvirtd(HOST)
    await world.lab.wait_answering(HOST)

    async def told() -> bool:
        try:
            return (await world.one()).vm_id == world.vm
        except Unavailable:
            return False

    await eventually(told, "the figures are there again", GROWS_S)


async def test_the_machine_is_described_and_names_who_is_not_ours(world: World) -> None:
    found: Machine = await world.call(machine)
    assert found.cores >= 1
    assert found.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    (theirs,) = found.facts.foreign
    assert (theirs.uuid, theirs.name, theirs.state) == (world.foreign, "theirs", "running")
    assert theirs.vcpus >= 1
    assert theirs.memory_mib >= 32
    assert found.facts.foreign_total == 1
    assert found.facts.foreign_takes == Resources(vcpus=theirs.vcpus, memory_mib=theirs.memory_mib)
    cpu = found.facts.processor
    assert cpu is not None
    assert (cpu.arch, bool(cpu.model), bool(cpu.vendor)) == ("x86_64", True, True)
    assert cpu.sockets * cpu.cores * cpu.threads == found.cores
    assert list(cpu.features) == sorted(set(cpu.features))


async def test_a_library_that_tells_little_is_read_all_the_same() -> None:
    told = {"vcpu.maximum": 2, "vcpu.0.time": 10**9, "vcpu.1.time": 2 * 10**9, "balloon.rss": -1}
    told |= {"block.count": 1, "net.count": 1, "net.0.rx.drop": -1}
    found = read(VmId(random_id()), Generation(1), told)
    assert (found.cpu_seconds, found.vcpus, found.cpu_steal_seconds) == (3.0, None, None)
    assert (found.memory.rss_kib, found.disks, found.nics) == (None, (), ())
    assert processor("<capabilities><host/></capabilities>") is None
