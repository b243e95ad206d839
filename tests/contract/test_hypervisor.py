"""The simulated hypervisor and libvirt with a real QEMU behave alike: one suite, two adapters."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from events.desired import DesiredVm
from events.facts import PauseCause, StopCause
from events.values import Desired
from infra.lab.guest import build_guest
from infra.lab.lab import Lab
from infra.runtime.clock import SystemClock
from services.hostd.core.domain import DomainState, Rebooted
from services.hostd.hypervisor.port import Hypervisor
from services.hostd.hypervisor.simulated import SimulatedHypervisor
from tests.integration.hypervisor.world import (
    TINY_MIB,
    Changes,
    RealWorld,
    World,
    an_own_entry,
    real_world,
    with_spec,
)
from tests.integration.lab.tiny import GUEST_CACHE

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_guest(out=tmp_path_factory.mktemp("guest"), cache=GUEST_CACHE).parent


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab(images: Path) -> AsyncIterator[Lab]:
    async with await Lab.start(images=images, hosts=1) as lab:
        yield lab


def simulated(folder: Path) -> Hypervisor:
    return SimulatedHypervisor(folder / "guests", SystemClock())


@pytest_asyncio.fixture(params=["simulated", "libvirt"], loop_scope="module")
async def world(
    request: pytest.FixtureRequest, tmp_path: Path, lab: Lab, images: Path
) -> AsyncIterator[World]:
    if request.param == "simulated":
        changes = Changes()
        hypervisor = simulated(tmp_path)
        await hypervisor.connect(changes)
        yield World(hypervisor, changes)
        await hypervisor.close()
        return
    async with real_world(lab, images, tmp_path / "disks") as made:
        yield made


async def qemu_is(world: World, entry: DesiredVm, status: str | None) -> None:
    """Where there is a QEMU, have it say so itself; None: there is none."""
    if not isinstance(world, RealWorld):
        return
    if status is None:
        assert await world.qemus(entry.vm_id) == []
    else:
        assert await world.qemu_status(entry.vm_id) == status


async def test_what_is_unknown_is_not_there_and_every_verb_means_nothing(world: World) -> None:
    entry, hypervisor = an_own_entry(), world.hypervisor
    vm = entry.vm_id
    assert await hypervisor.domain(vm) is None
    await hypervisor.ask_shutdown(vm)
    await hypervisor.ask_reboot(vm)
    await hypervisor.reset(vm)
    await hypervisor.pause(vm)
    await hypervisor.resume(vm)
    await hypervisor.update(entry)
    await hypervisor.power_off(vm)
    await hypervisor.undefine(vm)
    assert list(await hypervisor.remove_disks(entry)) == []
    assert not await hypervisor.agent_answers(vm)


async def test_a_guest_starts_once_answers_and_shuts_itself_down_when_asked(world: World) -> None:
    entry, hypervisor = an_own_entry(), world.hypervisor
    vm = entry.vm_id
    first = await hypervisor.start(entry)
    assert (first.effective.vcpus, first.effective.memory_mib) == (1, TINY_MIB)
    assert first.disks == ()
    found = await world.see(vm)
    assert (found.state, found.generation, found.defined) == (DomainState.ACTIVE, 3, True)
    assert await hypervisor.start(entry) == first
    await world.up(vm)
    await qemu_is(world, entry, "running")
    assert (await world.see(vm)).agent
    await hypervisor.ask_shutdown(vm)
    assert (await world.off(vm)).cause is StopCause.GUEST
    await qemu_is(world, entry, None)
    assert vm in world.changes.told
    await hypervisor.undefine(vm)
    assert await hypervisor.domain(vm) is None


async def test_a_guest_is_powered_off_listed_and_started_anew(world: World) -> None:
    entry, hypervisor = an_own_entry(), world.hypervisor
    vm = entry.vm_id
    await hypervisor.start(entry)
    assert vm in {domain.vm_id for domain in await hypervisor.domains()}
    await hypervisor.power_off(vm)
    await qemu_is(world, entry, None)
    assert (await world.off(vm)).cause is StopCause.POWERED_OFF
    await hypervisor.power_off(vm)
    await hypervisor.start(entry.model_copy(update={"generation": 4}))
    found = await world.see(vm)
    assert (found.state, found.generation) == (DomainState.ACTIVE, 4)
    await hypervisor.power_off(vm)
    await hypervisor.undefine(vm)
    assert vm not in {domain.vm_id for domain in await hypervisor.domains()}


async def test_a_guest_is_paused_and_goes_on_as_often_as_it_is_told(world: World) -> None:
    entry, hypervisor = an_own_entry(), world.hypervisor
    vm = entry.vm_id
    await hypervisor.start(entry)
    await world.up(vm)
    for _ in range(2):
        await hypervisor.pause(vm)
        assert (await world.see(vm)).paused is PauseCause.USER
        await qemu_is(world, entry, "paused")
    assert not await hypervisor.agent_answers(vm)
    for _ in range(2):
        await hypervisor.resume(vm)
        assert (await world.see(vm)).paused is None
        await qemu_is(world, entry, "running")
    await world.up(vm)
    await world.remove(entry)


async def test_a_guest_that_is_started_paused_waits_to_be_resumed(world: World) -> None:
    entry, hypervisor = an_own_entry(Desired.PAUSED), world.hypervisor
    vm = entry.vm_id
    await hypervisor.start(entry)
    found = await world.see(vm)
    assert (found.state, found.paused, found.agent) == (DomainState.ACTIVE, PauseCause.USER, False)
    if isinstance(world, RealWorld):
        assert await world.qemu_status(vm) in {"prelaunch", "paused"}
        assert world.serial(vm) == ""
    await hypervisor.resume(vm)
    await world.up(vm)
    await qemu_is(world, entry, "running")
    await world.remove(entry)


@pytest.mark.parametrize("verb", ["reset", "ask_reboot"])
async def test_a_guest_boots_again_within_the_same_domain(world: World, verb: str) -> None:
    entry, hypervisor = an_own_entry(), world.hypervisor
    vm = entry.vm_id
    await hypervisor.start(entry)
    await world.up(vm)
    qemu = await world.qemu(vm) if isinstance(world, RealWorld) else None
    await getattr(hypervisor, verb)(vm)
    assert await world.happens(vm, Rebooted) == Rebooted()
    assert (await world.see(vm)).state is DomainState.ACTIVE
    if isinstance(world, RealWorld):
        await world.says(vm, "roost-guest ready", times=2)
        assert await world.qemu(vm) == qemu
    await world.up(vm)
    await world.remove(entry)


async def test_a_running_guest_takes_over_vcpus_and_memory(world: World) -> None:
    entry, hypervisor = an_own_entry(vcpus_max=2), world.hypervisor
    vm = entry.vm_id
    shown = (await hypervisor.start(entry)).effective
    assert (shown.vcpus, shown.vcpus_max) == (1, 2)
    await world.up(vm)
    wanted = with_spec(entry, vcpus=2, memory_mib=96)
    await hypervisor.update(wanted)
    again = (await hypervisor.start(entry)).effective
    assert (again.vcpus, again.vcpus_max) == (2, 2)
    if isinstance(world, RealWorld):
        assert len(await world.qmp(vm, "query-cpus-fast")) == 2
        real = world

        async def shrunk() -> bool:
            actual: int = (await real.qmp(vm, "query-balloon"))["actual"]
            return actual == 96 * 1024 * 1024

        await world.changes.until(shrunk)
    await world.remove(entry)


@pytest.mark.parametrize("verb", ["ask_shutdown", "power_off"])
async def test_a_transient_guest_is_remembered_until_it_is_undefined(world: World, verb: str) -> None:
    entry, hypervisor = an_own_entry(persistent=False), world.hypervisor
    vm = entry.vm_id
    await hypervisor.start(entry)
    assert (await world.see(vm)).state is DomainState.ACTIVE
    await world.up(vm)
    await getattr(hypervisor, verb)(vm)
    cause = StopCause.GUEST if verb == "ask_shutdown" else StopCause.POWERED_OFF
    found = await world.off(vm)
    assert (found.defined, found.generation, found.cause) == (False, 3, cause)
    await qemu_is(world, entry, None)
    assert found in await hypervisor.domains()
    await hypervisor.undefine(vm)
    assert await hypervisor.domain(vm) is None
    assert vm not in {domain.vm_id for domain in await hypervisor.domains()}


@pytest.mark.parametrize("persistent", [True, False])
async def test_a_guest_is_shown_with_its_disks_as_long_as_it_has_a_definition(
    world: World, persistent: bool
) -> None:
    disks = [{"name": "root", "size_mib": 1}, {"name": "data", "size_mib": 1}]
    entry, hypervisor = an_own_entry(disks=disks, persistent=persistent), world.hypervisor
    started = await hypervisor.start(entry)
    assert (await world.see(entry.vm_id)).disks == started.disks == ("root", "data")
    await hypervisor.power_off(entry.vm_id)
    found = await world.off(entry.vm_id)
    assert found.disks == (started.disks if persistent else ())
    assert not found.saved
    await world.remove(entry)


async def test_a_machine_tells_what_it_is(world: World) -> None:
    machine = await world.hypervisor.machine()
    assert machine.cores >= 1
    assert machine.memory_mib > TINY_MIB
    assert machine.boot_id
