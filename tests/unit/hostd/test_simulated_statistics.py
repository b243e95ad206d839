"""A simulated guest's figures look like a guest's: they grow with time alone."""

from datetime import timedelta

from events.ids import Generation
from events.spec import Disk, Nic, VmSpec
from events.statistics import VmStatistics
from services.hostd.hypervisor.simulated_statistics import simulated_statistics
from tests.support.builders import NOON, VM

SPEC = VmSpec(
    name="web",
    vcpus=2,
    memory_mib=512,
    image="tiny",
    disks=(Disk(name="data", size_mib=1), Disk(name="logs", base="tiny")),
    nics=(Nic(network="br0"),),
)


def after(seconds: float) -> VmStatistics:
    return simulated_statistics(NOON + timedelta(seconds=seconds), NOON, VM, Generation(3), SPEC)


def test_it_is_the_guest_of_its_spec() -> None:
    found = after(60)
    assert (found.vm_id, found.generation, found.vcpus) == (VM, 3, 2)
    assert found.memory.maximum_kib == 512 * 1024
    assert [(disk.target, disk.capacity_bytes) for disk in found.disks] == [("vda", 1024 * 1024), ("vdb", 0)]
    assert len(found.nics) == 1


def test_counters_grow_and_never_beyond_what_is_possible() -> None:
    early, late = after(60), after(6000)
    assert 0 < early.cpu_seconds < late.cpu_seconds < 2 * 6000
    assert early.disks[0].read_bytes < late.disks[0].read_bytes
    assert early.nics[0].received_bytes < late.nics[0].received_bytes
    assert late.disks[0].allocation_bytes == late.disks[0].capacity_bytes
    assert after(60) == early


def test_a_clock_that_was_set_back_makes_no_negative_figures() -> None:
    assert after(-60) == after(0)
