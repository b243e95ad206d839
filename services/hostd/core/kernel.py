"""Read what the Linux kernel tells in text: /proc/stat, /proc/meminfo, /proc/loadavg."""

from collections.abc import Sequence

from events.statistics import CpuShares, HostMemory

# The order of the first line of /proc/stat (proc(5)); what guests used is in `user` and `nice` already.
_USER, _NICE, _SYSTEM, _IDLE, _IOWAIT, _IRQ, _SOFTIRQ, _STEAL = range(8)

Ticks = Sequence[int]
"""What all processors together have spent on each kind of work since the machine started."""


def cpu_ticks(stat: str) -> Ticks:
    """Read the first line of /proc/stat; ValueError where it is none."""
    first = stat.partition("\n")[0].split()
    if first[:1] != ["cpu"] or len(first) < _STEAL + 2:
        raise ValueError(f"/proc/stat begins with {first}")
    return tuple(map(int, first[1 : _STEAL + 2]))


def cpu_shares(before: Ticks, now: Ticks) -> CpuShares | None:
    """Give the shares of the time between two readings; None where no time has passed.

    The kernel may take `idle` and `iowait` back a little (proc(5)): what went back counts as nothing.
    """
    spent = [max(0, after - earlier) for earlier, after in zip(before, now, strict=True)]
    total = sum(spent)
    if not total:
        return None
    return CpuShares(
        user=(spent[_USER] + spent[_NICE]) / total,
        system=(spent[_SYSTEM] + spent[_IRQ] + spent[_SOFTIRQ]) / total,
        idle=spent[_IDLE] / total,
        iowait=spent[_IOWAIT] / total,
        steal=spent[_STEAL] / total,
    )


def host_memory(meminfo: str) -> HostMemory:
    """Read /proc/meminfo, which is in KiB; KeyError where a line is missing."""
    found = {
        name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in meminfo.splitlines())
    }
    return HostMemory(
        total_kib=found["MemTotal"],
        free_kib=found["MemFree"],
        available_kib=found["MemAvailable"],
        cached_kib=found["Cached"],
        swap_total_kib=found["SwapTotal"],
        swap_free_kib=found["SwapFree"],
    )


def load_averages(loadavg: str) -> tuple[float, float, float]:
    """Read /proc/loadavg: the load over 1, 5 and 15 minutes."""
    one, five, fifteen = loadavg.split()[:3]
    return float(one), float(five), float(fifteen)
