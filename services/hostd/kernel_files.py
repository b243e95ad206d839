"""Look at what the kernel shows of the machine in /sys, and at the folders for disks. All of it may block."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from events.machine import (
    NETWORKS_MAX,
    NUMA_NODES_MAX,
    PAGE_SIZES_MAX,
    HugePages,
    MachineFacts,
    NumaNode,
    Storage,
)

SYS = Path("/sys")
MIB = 1024 * 1024
PROBLEM_MAX = 253

T = TypeVar("T")


def kernel_facts(sys: Path = SYS) -> MachineFacts:
    """Describe NUMA nodes, huge pages and bridges; of a kind that the kernel does not show there is none."""
    return MachineFacts(
        numa=_if_shown(_numa, sys), hugepages=_if_shown(_hugepages, sys), networks=_if_shown(_bridges, sys)
    )


def storage_facts(name: str, path: Path) -> Storage:
    """Describe one folder; hangs for as long as its file system does."""
    try:
        found = os.statvfs(path)
    except OSError as err:
        return Storage(name=name, path=str(path), problem=(err.strerror or str(err))[:PROBLEM_MAX])
    return Storage(
        name=name,
        path=str(path),
        total_mib=found.f_blocks * found.f_frsize // MIB,
        free_mib=found.f_bavail * found.f_frsize // MIB,
        writable=not found.f_flag & os.ST_RDONLY and os.access(path, os.W_OK),
    )


def _if_shown(look: Callable[[Path], tuple[T, ...]], sys: Path) -> tuple[T, ...]:
    try:
        return look(sys)
    except (OSError, ValueError, StopIteration):
        return ()  # A sandbox may hide some of it, or a processor may be on its way out.


def _numa(sys: Path) -> tuple[NumaNode, ...]:
    nodes = sorted(
        (int(folder.name.removeprefix("node")), folder)
        for folder in sys.glob("devices/system/node/node[0-9]*")
    )
    return tuple(
        NumaNode(
            node=number,
            cpus=(folder / "cpulist").read_text().strip(),
            memory_mib=_total_kib((folder / "meminfo").read_text()) // 1024,
        )
        for number, folder in nodes[:NUMA_NODES_MAX]
    )


def _total_kib(meminfo: str) -> int:
    # Each line begins with the node: Node 0 MemTotal: 16384 kB
    return next(int(line.split()[3]) for line in meminfo.splitlines() if "MemTotal:" in line)


def _hugepages(sys: Path) -> tuple[HugePages, ...]:
    sizes = sorted(
        (int(folder.name.removeprefix("hugepages-").removesuffix("kB")), folder)
        for folder in sys.glob("kernel/mm/hugepages/hugepages-*kB")
    )
    return tuple(
        HugePages(
            size_kib=size,
            total=int((folder / "nr_hugepages").read_text()),
            free=int((folder / "free_hugepages").read_text()),
        )
        for size, folder in sizes[:PAGE_SIZES_MAX]
    )


def _bridges(sys: Path) -> tuple[str, ...]:
    return tuple(sorted(found.parent.name for found in sys.glob("class/net/*/bridge")))[:NETWORKS_MAX]
