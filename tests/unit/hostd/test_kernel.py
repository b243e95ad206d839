"""What the kernel writes is read as it means it."""

from pathlib import Path

import pytest

from events.machine import HugePages, MachineFacts, NumaNode
from services.hostd.core.kernel import cpu_shares, cpu_ticks, host_memory, load_averages
from services.hostd.kernel_files import kernel_facts, storage_facts

STAT = "cpu  100 20 30 1000 40 5 6 7 50 0\ncpu0 1 2 3 4 5 6 7 8 9 0\nintr 1\n"


def test_the_time_between_two_readings_is_shared_out() -> None:
    shares = cpu_shares(cpu_ticks(STAT), cpu_ticks("cpu 130 30 40 1080 40 10 11 67 50 0\n"))
    assert shares is not None
    assert (shares.user, shares.system, shares.idle) == (40 / 200, 20 / 200, 80 / 200)
    assert (shares.iowait, shares.steal) == (0, 60 / 200)


def test_a_counter_that_the_kernel_takes_back_counts_as_nothing() -> None:
    shares = cpu_shares(cpu_ticks(STAT), cpu_ticks("cpu 110 20 30 1000 35 5 6 7\n"))
    assert shares is not None
    assert (shares.user, shares.iowait) == (1, 0)


def test_no_time_has_no_shares() -> None:
    assert cpu_shares(cpu_ticks(STAT), cpu_ticks(STAT)) is None


@pytest.mark.parametrize("text", ["", "cpu 1 2 3\n", "cpu0 1 2 3 4 5 6 7 8\n", "cpu a b c d e f g h\n"])
def test_what_is_no_stat_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"/proc/stat|invalid literal"):
        cpu_ticks(text)


def test_memory_and_load_are_the_kernels_own() -> None:
    lines = {"MemTotal": 16000, "MemFree": 1000, "MemAvailable": 8000, "Buffers": 5, "Cached": 6000}
    lines |= {"SwapTotal": 2000, "SwapFree": 1500}
    text = "".join(f"{name}:    {value} kB\n" for name, value in lines.items()) + "HugePages_Total:       0\n"
    memory = host_memory(text)
    assert (memory.total_kib, memory.available_kib, memory.cached_kib) == (16000, 8000, 6000)
    assert (memory.free_kib, memory.swap_total_kib, memory.swap_free_kib) == (1000, 2000, 1500)
    assert load_averages("0.10 1.20 12.30 2/345 678\n") == (0.1, 1.2, 12.3)


def test_this_kernel_can_be_read() -> None:
    cpu_ticks(Path("/proc/stat").read_text())
    assert host_memory(Path("/proc/meminfo").read_text()).total_kib > 0
    assert len(load_averages(Path("/proc/loadavg").read_text())) == 3


def make(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)


def test_nodes_pages_and_bridges_are_found_in_their_order(tmp_path: Path) -> None:
    for number in (10, 2):
        folder = tmp_path / f"devices/system/node/node{number}"
        make(
            folder,
            cpulist=f"{number}-11\n",
            meminfo=f"Node {number} MemTotal:  20480 kB\nNode 2 MemFree: 1 kB\n",
        )
    for size, total, free in ((1048576, 4, 4), (2048, 100, 60)):
        folder = tmp_path / f"kernel/mm/hugepages/hugepages-{size}kB"
        make(folder, nr_hugepages=f"{total}\n", free_hugepages=f"{free}\n")
    make(tmp_path / "class/net/br1/bridge")
    make(tmp_path / "class/net/br0/bridge")
    make(tmp_path / "class/net/eth0")
    assert kernel_facts(tmp_path) == MachineFacts(
        numa=(NumaNode(node=2, cpus="2-11", memory_mib=20), NumaNode(node=10, cpus="10-11", memory_mib=20)),
        hugepages=(
            HugePages(size_kib=2048, total=100, free=60),
            HugePages(size_kib=1048576, total=4, free=4),
        ),
        networks=("br0", "br1"),
    )


def test_what_the_kernel_hides_is_not_there_and_hides_nothing_else(tmp_path: Path) -> None:
    make(tmp_path / "devices/system/node/node0")
    make(tmp_path / "kernel/mm/hugepages/hugepages-2048kB", nr_hugepages="many", free_hugepages="0")
    make(tmp_path / "class/net/br0/bridge")
    assert kernel_facts(tmp_path) == MachineFacts(networks=("br0",))


def test_a_folder_shows_its_room_and_one_that_is_missing_says_so(tmp_path: Path) -> None:
    found = storage_facts("default", tmp_path)
    assert (found.name, found.path, found.writable, found.problem) == ("default", str(tmp_path), True, None)
    assert found.total_mib >= found.free_mib > 0
    gone = storage_facts("gone", tmp_path / "gone")
    assert (gone.writable, gone.total_mib, gone.problem) == (False, 0, "No such file or directory")
