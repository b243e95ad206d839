"""The simulated hypervisor and libvirt with a real QEMU behave alike: one suite, two adapters."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from events.facts import StopCause
from events.ids import VmId
from events.values import DesiredVm
from infra.lab.guest import build_guest
from infra.lab.lab import Lab
from infra.runtime.clock import SystemClock
from infra.runtime.errors import Unavailable
from infra.runtime.ids import random_id
from services.hostd.core.reconcile import Domain, DomainState
from services.hostd.hypervisor.domain_xml import Platform, domain_name
from services.hostd.hypervisor.libvirt_driver import LibvirtHypervisor
from services.hostd.hypervisor.port import Hypervisor, HypervisorRefused, Image
from services.hostd.hypervisor.simulated import SimulatedHypervisor
from services.hostd.images import find_image
from tests.integration.lab.tiny import DOMAIN, GUEST_CACHE
from tests.support.builders import an_entry

pytestmark = pytest.mark.asyncio(loop_scope="module")
HOST = "host-1"
WAIT_S = 40.0
LOOK_AGAIN_S = 0.5
TINY_MIB = 128


@dataclass
class Changes:
    """What the hypervisor told of; a test waits for the next word, and looks."""

    told: list[VmId | None] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, vm_id: VmId | None) -> None:
        self.told.append(vm_id)
        self.news.set()

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        """Look at each change, and now and then without one, until *holds*."""
        async with asyncio.timeout(WAIT_S):
            while not await holds():
                self.news.clear()
                try:
                    async with asyncio.timeout(LOOK_AGAIN_S):
                        await self.news.wait()
                except TimeoutError:
                    continue


@dataclass
class World:
    hypervisor: Hypervisor
    image: Image
    changes: Changes

    async def state(self, vm_id: VmId) -> DomainState | None:
        found = await self.hypervisor.domain(vm_id)
        return found.state if found is not None else None

    async def up(self, vm_id: VmId) -> None:
        """Wait until the guest's agent answers."""
        await self.changes.until(lambda: self.hypervisor.agent_answers(vm_id))

    async def off(self, vm_id: VmId) -> Domain:
        """Wait until the domain is off."""

        async def ended() -> bool:
            return await self.state(vm_id) is DomainState.OFF

        await self.changes.until(ended)
        found = await self.hypervisor.domain(vm_id)
        assert found is not None
        return found


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_guest(out=tmp_path_factory.mktemp("guest"), cache=GUEST_CACHE).parent


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab(images: Path) -> AsyncIterator[Lab]:
    async with await Lab.start(images=images, hosts=1) as lab:
        yield lab


@asynccontextmanager
async def libvirt_world(lab: Lab, images: Path) -> AsyncIterator[World]:
    host = lab.host(HOST)
    hypervisor = LibvirtHypervisor(host.uri, Platform("qemu", "q35", host.dir / "console"))
    changes = Changes()
    await hypervisor.connect(changes)
    yield World(hypervisor, find_image(images, "tiny"), changes)
    await hypervisor.close()


@pytest_asyncio.fixture(params=["simulated", "libvirt"], loop_scope="module")
async def world(
    request: pytest.FixtureRequest, tmp_path: Path, lab: Lab, images: Path
) -> AsyncIterator[World]:
    if request.param == "simulated":
        hypervisor, changes = SimulatedHypervisor(tmp_path / "guests", SystemClock()), Changes()
        await hypervisor.connect(changes)
        yield World(hypervisor, Image(tmp_path, tmp_path, "quiet"), changes)
        await hypervisor.close()
        return
    async with libvirt_world(lab, images) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def real(lab: Lab, images: Path) -> AsyncIterator[World]:
    async with libvirt_world(lab, images) as made:
        yield made


@pytest.fixture
def entry() -> DesiredVm:
    """A VM that no other test has."""
    desired = an_entry(generation=3, vm=VmId(random_id()))
    small = desired.spec.model_copy(update={"vcpus": 1, "memory_mib": TINY_MIB})
    return desired.model_copy(update={"spec": small})


async def test_what_is_unknown_is_not_there_and_can_be_ended_all_the_same(
    world: World, entry: DesiredVm
) -> None:
    vm = entry.vm_id
    assert await world.hypervisor.domain(vm) is None
    await world.hypervisor.ask_shutdown(vm)
    await world.hypervisor.power_off(vm)
    await world.hypervisor.undefine(vm)
    assert not await world.hypervisor.agent_answers(vm)


async def test_a_guest_starts_once_answers_and_shuts_itself_down_when_asked(
    world: World, entry: DesiredVm
) -> None:
    vm, hypervisor = entry.vm_id, world.hypervisor
    await hypervisor.start(entry, world.image)
    found = await hypervisor.domain(vm)
    assert found is not None
    assert (found.state, found.generation) == (DomainState.ACTIVE, 3)
    later = entry.model_copy(update={"generation": 4})
    await hypervisor.start(later, world.image)
    again = await hypervisor.domain(vm)
    assert again is not None
    assert again.generation == 3
    await world.up(vm)
    await hypervisor.ask_shutdown(vm)
    assert (await world.off(vm)).cause is StopCause.GUEST
    assert vm in world.changes.told
    await hypervisor.undefine(vm)
    assert await hypervisor.domain(vm) is None


async def test_a_guest_is_powered_off_listed_and_started_anew(world: World, entry: DesiredVm) -> None:
    vm, hypervisor = entry.vm_id, world.hypervisor
    await hypervisor.start(entry, world.image)
    assert vm in {domain.vm_id for domain in await hypervisor.domains()}
    await hypervisor.power_off(vm)
    assert (await world.off(vm)).cause is StopCause.POWERED_OFF
    await hypervisor.power_off(vm)
    await hypervisor.start(entry.model_copy(update={"generation": 4}), world.image)
    found = await hypervisor.domain(vm)
    assert found is not None
    assert (found.state, found.generation) == (DomainState.ACTIVE, 4)
    await hypervisor.power_off(vm)
    await hypervisor.undefine(vm)
    assert vm not in {domain.vm_id for domain in await hypervisor.domains()}


async def test_a_machine_tells_what_it_is(world: World) -> None:
    machine = await world.hypervisor.machine()
    assert machine.cores >= 1
    assert machine.memory_mib > TINY_MIB
    assert machine.boot_id


async def test_a_foreign_domain_is_not_shown_and_not_touched(
    real: World, lab: Lab, images: Path, entry: DesiredVm
) -> None:
    host, name = lab.host(HOST), "someone-elses"
    cmdline = json.loads((images / "tiny" / "image.json").read_text())["cmdline"]
    text = DOMAIN.format(
        name=name, image=images / "tiny", cmdline=cmdline, serial=host.dir / "x.log", channel="x.0"
    )
    file = host.dir / "foreign.xml"
    file.write_text(text.replace("</name>", f"</name><uuid>{entry.vm_id}</uuid>"))
    await lab.virsh(HOST, "define", str(file))
    assert await real.hypervisor.domain(entry.vm_id) is None
    assert entry.vm_id not in {domain.vm_id for domain in await real.hypervisor.domains()}
    with pytest.raises(HypervisorRefused, match="not roost's"):
        await real.hypervisor.start(entry, real.image)
    await real.hypervisor.undefine(entry.vm_id)
    assert (await lab.virsh(HOST, "domstate", name)).strip() == "shut off"
    await lab.virsh(HOST, "start", name)
    await real.hypervisor.ask_shutdown(entry.vm_id)
    await real.hypervisor.power_off(entry.vm_id)
    assert (await lab.virsh(HOST, "domstate", name)).strip() == "running"
    await lab.virsh(HOST, "destroy", name)
    await lab.virsh(HOST, "undefine", name)


async def test_a_start_without_its_kernel_is_refused_in_libvirts_words(
    real: World, entry: DesiredVm, tmp_path: Path
) -> None:
    image = Image(tmp_path / "no-kernel", real.image.initrd, "quiet")
    with pytest.raises(HypervisorRefused, match="no-kernel"):
        await real.hypervisor.start(entry, image)
    await real.hypervisor.undefine(entry.vm_id)


async def test_libvirtd_dies_and_the_guest_lives(real: World, lab: Lab, entry: DesiredVm) -> None:
    await real.hypervisor.start(entry, real.image)
    qemu = lab.qemu_pids(HOST)
    await lab.kill_libvirtd(HOST)

    async def told() -> bool:
        try:
            found = await real.hypervisor.domain(entry.vm_id)
        except Unavailable:
            return True
        assert found is not None
        return None in real.changes.told

    await real.changes.until(told)
    await lab.wait_answering(HOST)

    async def connected() -> bool:
        try:
            await real.hypervisor.connect(real.changes)
        except Unavailable:
            return False
        return True

    await real.changes.until(connected)
    found = await real.hypervisor.domain(entry.vm_id)
    assert found is not None
    assert (found.state, found.generation) == (DomainState.ACTIVE, 3)
    assert lab.qemu_pids(HOST) == qemu
    assert domain_name(entry) in await lab.virsh(HOST, "list", "--name")
    await real.hypervisor.power_off(entry.vm_id)
    await real.hypervisor.undefine(entry.vm_id)
