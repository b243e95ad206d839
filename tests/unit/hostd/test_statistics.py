"""The shell's two loops: statistics are told whatever is away; the machine is seen from all its sides."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from events import subjects
from events.ids import Generation
from events.machine import ForeignDomain, MachineFacts, Storage
from events.statistics import HostStatistics, VmStatistics
from infra.eventlog.memory import MemorySignals
from infra.runtime.clock import SystemClock
from infra.runtime.errors import Unavailable
from infra.runtime.service import background
from services.hostd import machine_watch
from services.hostd.hypervisor.port import HypervisorRefused, Machine, NoAnswer
from services.hostd.machine_watch import Folder, MachineWatch
from services.hostd.statistics import Statistics
from tests.support.builders import HOST, VERSIONS, VM
from tests.support.eventually import eventually

ONE = VmStatistics(vm_id=VM, generation=Generation(2), vcpus=1, cpu_seconds=1.5)


@dataclass
class Source:
    """A hypervisor that fails as it is told to, then answers."""

    fails: list[Exception] = field(default_factory=list)

    async def statistics(self) -> Sequence[VmStatistics]:
        if self.fails:
            raise self.fails.pop(0)
        return (ONE,)


async def heard(source: Source, count: int) -> list[HostStatistics]:
    """Give the first *count* that a host tells."""
    signals, found = MemorySignals(), list[HostStatistics]()
    await signals.listen(
        subjects.STATISTICS, lambda _, body: found.append(HostStatistics.model_validate_json(body))
    )
    told = Statistics(host_id=HOST, source=source, signals=signals, clock=SystemClock(), interval_s=0.05)
    async with background(told.tell()):
        await eventually(lambda: len(found) >= count, "the host tells its statistics")
    return found[:count]


async def test_a_host_tells_of_itself_and_of_its_vms() -> None:
    first, second = await heard(Source(), 2)
    assert (first.host_id, first.vms, first.interval_s) == (HOST, (ONE,), 0.05)
    assert first.memory.total_kib > first.memory.available_kib > 0
    assert first.cpu is None, "there was nothing to compare with"
    assert second.cpu is not None
    shares = second.cpu
    assert sum((shares.user, shares.system, shares.idle, shares.iowait, shares.steal)) == pytest.approx(1)


async def test_what_is_away_costs_an_interval_and_nothing_else() -> None:
    fails = [Unavailable("libvirt", "away"), HypervisorRefused("no"), NoAnswer("a guest hangs")]
    source = Source(list(fails))
    assert (await heard(source, 1))[0].vms == (ONE,)
    assert source.fails == []


MACHINE = Machine(cores=2, memory_mib=1024, versions=VERSIONS, boot_id="b")


async def test_the_machine_is_what_hypervisor_kernel_and_folders_say(tmp_path: Path) -> None:
    foreign = MachineFacts(foreign=(ForeignDomain(uuid="u", name="n", state="running"),), foreign_total=1)
    reported: list[Machine] = []

    async def machine() -> Machine:
        return replace(MACHINE, facts=foreign)

    async def report(found: Machine) -> None:
        reported.append(found)

    folders = {"fast": tmp_path, "away": tmp_path / "away"}
    watch = MachineWatch(
        machine=machine,
        report=report,
        storages=folders,
        kernel=lambda: MachineFacts(networks=("br0",), labels=("rack=a", "ssd")),
    )
    await watch.look()
    (found,) = reported
    assert (found.facts.foreign_total, found.facts.networks) == (1, ("br0",))
    assert found.facts.labels == ("rack=a", "ssd")
    assert [(one.name, one.writable) for one in found.facts.storages] == [("away", False), ("fast", True)]


async def test_a_folder_that_hangs_is_asked_once_and_said_not_to_answer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hangs, asked = threading.Event(), list[str]()

    def slow(name: str, path: Path) -> Storage:
        asked.append(name)
        hangs.wait()
        return Storage(name=name, path=str(path), total_mib=1)

    monkeypatch.setattr(machine_watch, "storage_facts", slow)
    monkeypatch.setattr(machine_watch, "FILES_TIMEOUT_S", 0.05)
    folder = Folder("nfs", tmp_path)
    try:
        assert (await folder.look()).problem == "no answer within 0.05 s"
        monkeypatch.setattr(machine_watch, "FILES_TIMEOUT_S", 3600)  # nobody waits a second time
        assert (await folder.look()).problem is not None
        assert asked == ["nfs"]
    finally:
        hangs.set()

    async def answers() -> bool:
        return (await folder.look()).total_mib == 1

    await eventually(answers, "a folder that is back answers")
