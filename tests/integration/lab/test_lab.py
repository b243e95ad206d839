"""A lab's hosts are real: they run guests, survive a libvirtd's death, and die of a power cut."""

from pathlib import Path

import pytest

from infra.lab.failure import LabFailed
from infra.lab.lab import Lab
from tests.integration.lab.tiny import ask_agent, is_off, start_tiny
from tests.support.eventually import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.drives_processes]
HOST = "host-1"


async def test_two_labs_stand_side_by_side(labs: tuple[Lab, Lab]) -> None:
    names = [(await lab.virsh(HOST, "hostname")).strip() for lab in labs]
    assert names == [f"host-1-{lab.run.name}" for lab in labs]


async def test_a_guest_answers_and_obeys_its_agent(labs: tuple[Lab, Lab], images: Path) -> None:
    lab, other = labs
    serial = await start_tiny(lab, HOST, name="agent", image=images / "tiny")
    await eventually(lambda: ask_agent(lab, HOST, name="agent"), "the guest's agent")
    assert len(lab.qemu_pids(HOST)) == 1
    assert other.qemu_pids(HOST) == ()
    assert "roost-guest ready" in serial.read_text()

    try:
        await lab.virsh(HOST, "shutdown", "agent", "--mode", "agent")
    except LabFailed as err:
        if "End of file from agent socket" not in str(err):
            raise  # else it obeyed before it had answered
    await eventually(lambda: is_off(lab, HOST, name="agent"), "the guest's end")
    assert lab.qemu_pids(HOST) == ()


async def test_a_guest_outlives_libvirtd_and_heeds_the_power_button(
    labs: tuple[Lab, Lab], images: Path
) -> None:
    _, lab = labs
    serial = await start_tiny(lab, HOST, name="button", image=images / "tiny")
    await eventually(lambda: ask_agent(lab, HOST, name="button"), "the guest's agent")
    qemu, daemon = lab.qemu_pids(HOST), lab.libvirtd_pids(HOST)

    await lab.kill_libvirtd(HOST)
    await lab.wait_answering(HOST)
    assert lab.libvirtd_pids(HOST) != daemon
    assert lab.qemu_pids(HOST) == qemu
    ticks = serial.read_text().count("tick")

    async def ticked() -> bool:
        return serial.read_text().count("tick") > ticks

    await eventually(ticked, "the guest's next tick")
    await lab.virsh(HOST, "shutdown", "button", "--mode", "acpi")
    await eventually(lambda: is_off(lab, HOST, name="button"), "the guest's end")


async def test_a_guest_moves_live_between_the_hosts_of_a_lab(labs: tuple[Lab, Lab], images: Path) -> None:
    lab, _ = labs
    await start_tiny(lab, HOST, name="mover", image=images / "tiny")
    await eventually(lambda: ask_agent(lab, HOST, name="mover"), "the guest's agent")

    await lab.virsh(HOST, "migrate", "mover", "qemu+tcp://host-2/system", "--live", "--p2p")

    assert lab.qemu_pids(HOST) == ()
    assert len(lab.qemu_pids("host-2")) == 1
    assert await ask_agent(lab, "host-2", name="mover")
    await lab.virsh("host-2", "destroy", "mover")


async def test_a_power_cut_takes_all_that_runs_and_leaves_the_disk(
    labs: tuple[Lab, Lab], images: Path
) -> None:
    lab, other = labs
    await start_tiny(lab, HOST, name="doomed", image=images / "tiny")
    assert lab.qemu_pids(HOST)

    await lab.kill_host(HOST)

    assert lab.qemu_pids(HOST) == lab.libvirtd_pids(HOST) == ()
    await other.wait_answering(HOST)
    await lab.power_on(HOST)
    assert await is_off(lab, HOST, name="doomed")
