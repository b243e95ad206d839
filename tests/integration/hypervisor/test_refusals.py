"""A start that cannot be is refused with all that is wrong, and nothing of it is left."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from events.effective import FailureCode, StartFailure, Step
from events.spec import RunOnce
from infra.lab.lab import Lab
from services.hostd.core.domain import DomainState
from services.hostd.hypervisor.blueprint import domain_name
from services.hostd.hypervisor.port import HypervisorRefused, StartRefused
from tests.integration.hypervisor.world import BRIDGE, HOST, RealWorld, an_own_entry, with_spec
from tests.integration.lab.tiny import DOMAIN

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]


async def refusal(world: RealWorld, **fields: Any) -> list[StartFailure]:
    """Try to start such a VM and give what was wrong; nothing of it may be there then."""
    entry = an_own_entry(**fields)
    with pytest.raises(StartRefused) as caught:
        await world.hypervisor.start(entry)
    assert await world.hypervisor.domain(entry.vm_id) is None
    assert await world.qemus(entry.vm_id) == []
    assert not (world.storage / str(entry.vm_id)).exists()
    assert caught.value.log_tail == ""
    return list(caught.value.failures)


async def test_all_that_is_wrong_is_said_at_once_with_what_there_is(world: RealWorld) -> None:
    found = await refusal(
        world,
        memory_mib=16_000_000,
        vcpus=400,
        cpu_model="abacus",
        image="none",
        nics=[{"network": "br-none"}, {"network": "eth0"}],
        disks=[{"name": "a", "size_mib": 1, "storage": "attic"}],
    )
    said = {failure.code: failure.message for failure in found}
    assert set(said) == {
        FailureCode.MEMORY,
        FailureCode.VCPUS,
        FailureCode.CPU_MODEL,
        FailureCode.IMAGE,
        FailureCode.NETWORK,
        FailureCode.STORAGE,
    }
    assert {failure.step for failure in found} == {Step.VALIDATE}
    assert "16000000" in said[FailureCode.MEMORY]
    assert "at most 255" in said[FailureCode.VCPUS]
    assert "Nehalem" in said[FailureCode.CPU_MODEL]
    assert BRIDGE in said[FailureCode.NETWORK]
    assert len([failure for failure in found if failure.code is FailureCode.NETWORK]) == 2


async def test_a_machine_that_qemu_does_not_know_is_refused(world: RealWorld) -> None:
    (failure,) = await refusal(world, machine="abacus")
    assert failure.code is FailureCode.MACHINE
    assert "q35" in failure.message


async def test_what_libvirt_refuses_is_said_in_its_words_and_the_end_of_qemus_log(
    world: RealWorld,
) -> None:
    broken = world.images / "broken"
    shutil.copytree(world.images / "tiny", broken)
    (broken / "vmlinuz").write_bytes(b"no kernel")
    entry = an_own_entry(image="broken")
    with pytest.raises(StartRefused) as caught:
        await world.hypervisor.start(entry)
    (failure,) = caught.value.failures
    assert (failure.step, failure.code) == (Step.START, FailureCode.HYPERVISOR)
    assert "kernel" in caught.value.log_tail
    assert await world.hypervisor.domain(entry.vm_id) is None
    assert domain_name(entry) not in await world.lab.virsh(HOST, "list", "--all", "--name")
    transient = with_spec(entry, persistent=False)
    with pytest.raises(StartRefused):
        await world.hypervisor.start(transient)
    assert await world.hypervisor.domain(entry.vm_id) is None


async def test_another_generation_that_runs_is_not_taken_for_this_one(world: RealWorld) -> None:
    entry = an_own_entry(generation=3)
    await world.hypervisor.start(entry)
    qemu = await world.qemu(entry.vm_id)
    with pytest.raises(StartRefused, match="runs here in generation 3") as caught:
        await world.hypervisor.start(entry.model_copy(update={"generation": 4}))
    assert [failure.code for failure in caught.value.failures] == [FailureCode.VM_EXISTS]
    assert await world.qemu(entry.vm_id) == qemu
    await world.remove(entry)


async def test_a_saved_guest_is_neither_discarded_nor_started(world: RealWorld) -> None:
    entry = an_own_entry()
    await world.hypervisor.start(entry)
    await world.lab.virsh(HOST, "managedsave", str(entry.vm_id))
    with pytest.raises(StartRefused, match="saved state") as caught:
        await world.hypervisor.start(entry.model_copy(update={"generation": 4}))
    (failure,) = caught.value.failures
    assert (failure.step, failure.code) == (Step.SAVED_STATE, FailureCode.SAVED_STATE)
    assert "virsh managedsave-remove" in failure.message
    assert "virsh start" not in failure.message  # the daemon would end at once what it did not start
    found = await world.see(entry.vm_id)
    assert (found.state, found.saved) == (DomainState.OFF, True)
    with pytest.raises(HypervisorRefused, match="managed save"):
        await world.hypervisor.undefine(entry.vm_id)
    await world.lab.virsh(HOST, "managedsave-remove", str(entry.vm_id))
    assert not (await world.see(entry.vm_id)).saved
    await world.remove(entry)
    assert await world.hypervisor.domain(entry.vm_id) is None


async def test_a_foreign_domain_is_not_shown_and_not_touched(
    world: RealWorld, lab: Lab, images: Path
) -> None:
    entry, host, name = an_own_entry(), lab.host(HOST), "someone-elses"
    cmdline = json.loads((images / "tiny" / "image.json").read_text())["cmdline"]
    text = DOMAIN.format(
        name=name, image=images / "tiny", cmdline=cmdline, serial=host.dir / "x.log", channel="x.0"
    )
    file = host.dir / "foreign.xml"
    file.write_text(text.replace("</name>", f"</name><uuid>{entry.vm_id}</uuid>"))
    await lab.virsh(HOST, "define", str(file))
    assert await world.hypervisor.domain(entry.vm_id) is None
    assert entry.vm_id not in {domain.vm_id for domain in await world.hypervisor.domains()}
    with pytest.raises(StartRefused, match="not roost's"):
        await world.hypervisor.start(entry)
    await world.hypervisor.undefine(entry.vm_id)
    assert (await lab.virsh(HOST, "domstate", name)).strip() == "shut off"
    await lab.virsh(HOST, "start", name)
    for verb in ("ask_shutdown", "ask_reboot", "reset", "pause", "resume", "power_off"):
        await getattr(world.hypervisor, verb)(entry.vm_id)
    await world.hypervisor.update(entry)
    assert (await lab.virsh(HOST, "domstate", name)).strip() == "running"
    with pytest.raises(HypervisorRefused, match="in use"):
        await world.hypervisor.remove_disks(entry)
    await lab.virsh(HOST, "destroy", name)
    await lab.virsh(HOST, "undefine", name)


async def test_a_foreign_domain_of_the_same_name_is_in_the_way(world: RealWorld, lab: Lab) -> None:
    entry = an_own_entry()
    cmdline = "quiet"
    text = DOMAIN.format(
        name=domain_name(entry), image=world.images / "tiny", cmdline=cmdline, serial="/x.log", channel="x.0"
    )
    file = lab.host(HOST).dir / "namesake.xml"
    file.write_text(text)
    await lab.virsh(HOST, "define", str(file))
    with pytest.raises(StartRefused, match=domain_name(entry)) as caught:
        await world.hypervisor.start(entry)
    assert [failure.code for failure in caught.value.failures] == [FailureCode.VM_EXISTS]
    await lab.virsh(HOST, "undefine", domain_name(entry))


async def test_more_than_was_reserved_is_refused_in_libvirts_words(world: RealWorld) -> None:
    entry = an_own_entry()
    await world.hypervisor.start(entry)
    for more in ({"vcpus": 2}, {"memory_mib": 256}):
        with pytest.raises(HypervisorRefused, match=r"(?i)greater than|higher than|maximum"):
            await world.hypervisor.update(with_spec(entry, **more))
    await world.remove(entry)


async def test_run_once_boots_with_its_own_command_line(world: RealWorld) -> None:
    entry = an_own_entry(machine="q35")
    once = RunOnce(cmdline="console=ttyS0 quiet panic=-1 roost.panic=never")
    await world.hypervisor.start(entry.model_copy(update={"once": once}))
    qemu = await world.qemu(entry.vm_id)
    cmdline = Path(f"/proc/{qemu}/cmdline").read_text()
    assert "roost.panic=never" in cmdline
    assert 'once="yes"' in await world.lab.virsh(HOST, "dumpxml", str(entry.vm_id))
    await world.remove(entry)
