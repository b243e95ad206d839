"""What hangs about one guest is said of that guest alone; libvirtd may die, and nothing runs twice."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from events.facts import StopCause
from infra.lab.lab import Lab
from infra.runtime.errors import Unavailable
from services.hostd.core.domain import DomainState
from services.hostd.hypervisor.libvirt_driver import START_TIMEOUT_S
from services.hostd.hypervisor.port import NoAnswer
from tests.integration.hypervisor.world import HOST, WAIT_S, RealWorld, an_own_entry, real_world

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]
PATIENCE_S = 2.0
LOOKERS, LOOKS_MAX = 6, 10_000
STOPPED_GUESTS = 6
"""More than the five calls that libvirtd works off at a time for one connection."""
SCALE = 5
"""A start beside guests that hang may take so many times what it takes alone: far less than any deadline."""


@pytest_asyncio.fixture(loop_scope="module")
async def hasty(lab: Lab, images: Path, tmp_path: Path) -> AsyncIterator[RealWorld]:
    """An adapter with little patience."""
    async with real_world(lab, images, tmp_path / "disks", call_timeout_s=PATIENCE_S) as made:
        yield made


async def timed_start(world: RealWorld) -> float:
    """Start a guest, end it, and tell how long its start took."""
    entry, loop = an_own_entry(), asyncio.get_running_loop()
    began = loop.time()
    await world.hypervisor.start(entry)
    took = loop.time() - began
    await world.remove(entry)
    return took


async def test_guests_that_hang_hold_up_no_other_and_answer_again(hasty: RealWorld) -> None:
    hypervisor = hasty.hypervisor
    alone = await timed_start(hasty)
    entries = [an_own_entry() for _ in range(STOPPED_GUESTS)]
    for entry in entries:
        await hypervisor.start(entry)
    qemus = [await hasty.qemu(entry.vm_id) for entry in entries]
    for qemu in qemus:
        os.kill(qemu, signal.SIGSTOP)

    async def is_asked_in_vain(verb: str) -> None:
        calls = (getattr(hypervisor, verb)(entry.vm_id) for entry in entries)
        found = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(one) for one in found] == [NoAnswer] * STOPPED_GUESTS, found

    await is_asked_in_vain("pause")
    beside = await timed_start(hasty)
    assert beside < max(SCALE * alone, PATIENCE_S) < START_TIMEOUT_S
    began = asyncio.get_running_loop().time()
    await is_asked_in_vain("pause")  # not tried again while the first still hangs
    assert asyncio.get_running_loop().time() - began < PATIENCE_S
    for entry in entries:  # a look waits for no guest
        assert (await hasty.see(entry.vm_id)).state is DomainState.ACTIVE
    assert {entry.vm_id for entry in entries} <= {one.vm_id for one in await hypervisor.domains()}

    for qemu in qemus:
        os.kill(qemu, signal.SIGCONT)
    for entry in entries:

        async def answers(vm_id: object = entry.vm_id) -> bool:
            try:
                await hypervisor.pause(vm_id)  # type: ignore[arg-type]
            except NoAnswer:
                return False
            return True

        await hasty.changes.until(answers)
        assert await hasty.qemu_status(entry.vm_id) == "paused"
    for entry in entries:
        await hasty.remove(entry)


async def test_a_guest_that_hangs_is_powered_off_all_the_same(hasty: RealWorld) -> None:
    entry = an_own_entry()
    await hasty.hypervisor.start(entry)
    os.kill(await hasty.qemu(entry.vm_id), signal.SIGSTOP)
    with pytest.raises(NoAnswer):
        await hasty.hypervisor.reset(entry.vm_id)
    await hasty.hypervisor.power_off(entry.vm_id)
    assert await hasty.qemus(entry.vm_id) == []
    assert (await hasty.see(entry.vm_id)).cause is StopCause.POWERED_OFF
    await hasty.remove(entry)


async def test_a_transient_guest_whose_qemu_is_killed_is_known_to_have_crashed(world: RealWorld) -> None:
    entry = an_own_entry(persistent=False)
    await world.hypervisor.start(entry)
    os.kill(await world.qemu(entry.vm_id), signal.SIGKILL)
    found = await world.off(entry.vm_id)
    assert (found.cause, found.defined) == (StopCause.CRASHED, False)
    await world.hypervisor.undefine(entry.vm_id)
    assert await world.hypervisor.domain(entry.vm_id) is None


async def test_a_daemon_that_comes_later_takes_over_what_runs(
    world: RealWorld, lab: Lab, images: Path, tmp_path: Path
) -> None:
    entry, transient = an_own_entry(), an_own_entry(persistent=False)
    first = {one.vm_id: await world.hypervisor.start(one) for one in (entry, transient)}
    qemus = lab.qemu_pids(HOST)
    async with real_world(lab, images, tmp_path / "disks") as later:
        for one in (entry, transient):
            assert await later.hypervisor.start(one) == first[one.vm_id]
            await later.hypervisor.power_off(one.vm_id)
            found = await later.off(one.vm_id)
            assert found.cause is StopCause.POWERED_OFF
            assert found.defined is one.spec.persistent
    assert len(qemus) == 2
    assert lab.qemu_pids(HOST) == ()
    async with real_world(lab, images, tmp_path / "disks") as last:
        assert await last.hypervisor.domain(transient.vm_id) is None  # nobody remembers
    for one in (entry, transient):
        await world.remove(one)


async def test_libvirtd_dies_and_the_guests_live(world: RealWorld, lab: Lab) -> None:
    entry, transient = an_own_entry(), an_own_entry(persistent=False)
    for one in (entry, transient):
        await world.hypervisor.start(one)
    qemus = lab.qemu_pids(HOST)

    async def looks() -> None:
        """Look until libvirtd is away: whatever is under way then says so, and not that it was refused."""
        for _ in range(LOOKS_MAX):
            try:
                await world.see(entry.vm_id)
            except Unavailable:
                return

    looking = asyncio.gather(*(looks() for _ in range(LOOKERS)))
    await world.see(entry.vm_id)
    await lab.kill_libvirtd(HOST)
    async with asyncio.timeout(WAIT_S):
        await looking

    async def told() -> bool:
        return None in world.changes.told

    await world.changes.until(told)
    os.kill(await world.qemu(transient.vm_id), signal.SIGKILL)  # with nobody there to tell of it
    await lab.wait_answering(HOST)

    async def connected() -> bool:
        try:
            await world.hypervisor.connect(world.changes)
        except Unavailable:
            return False
        return True

    await world.changes.until(connected)
    found = await world.see(entry.vm_id)
    assert (found.state, found.generation) == (DomainState.ACTIVE, 3)
    assert await world.qemu(entry.vm_id) in qemus
    lost = await world.see(transient.vm_id)
    assert (lost.state, lost.defined) == (DomainState.OFF, False)
    assert lost.cause in {StopCause.LOST, StopCause.CRASHED}
    for one in (entry, transient):
        await world.remove(one)
