"""Write statistics, and what a host is made of, as people read them."""

from collections.abc import Mapping, Sequence
from typing import Any

from services.cli.core.units import show_mib

Body = Mapping[str, Any]

DISK_HEAD = ("DISK", "READ", "READS", "WRITTEN", "WRITES", "SIZE", "ALLOCATED")
NIC_HEAD = ("NETWORK CARD", "RECEIVED", "PACKETS", "SENT", "PACKETS", "ERRORS", "DROPS")
UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")
FEATURES_SHOWN = 8


def vm_lines(told: Body) -> Sequence[tuple[str, str]]:
    """Show what a VM uses, but for its disks and network cards."""
    memory = told["memory"]
    return (
        ("VM", told["vm"]),
        ("Host", told["host"]),
        ("Told", f"{told['age_s']:.1f} s ago"),
        ("CPU", _cpu(told)),
        ("CPU time", f"{told['cpu_seconds']:.1f} s"),
        ("Waited for I/O", _seconds(told["cpu_wait_seconds"])),
        ("Waited for a CPU", _seconds(told["cpu_steal_seconds"])),
        ("Memory", f"{_kib(memory['current_kib'])} of {_kib(memory['maximum_kib'])}"),
        ("Held by QEMU", _kib(memory["rss_kib"])),
        ("Unused in guest", _kib(memory["unused_kib"])),
        ("Swapped in, out", f"{_kib(memory['swap_in_kib'])}, {_kib(memory['swap_out_kib'])}"),
    )


def disk_rows(told: Body) -> Sequence[Sequence[str]]:
    """Show the disks of a VM."""
    return [
        (
            disk["target"],
            size(disk["read_bytes"]),
            str(disk["read_requests"]),
            size(disk["write_bytes"]),
            str(disk["write_requests"]),
            size(disk["capacity_bytes"]),
            size(disk["allocation_bytes"]),
        )
        for disk in told["disks"]
    ]


def nic_rows(told: Body) -> Sequence[Sequence[str]]:
    """Show the network cards of a VM."""
    return [
        (
            nic["device"] or "-",
            size(nic["received_bytes"]),
            str(nic["received_packets"]),
            size(nic["sent_bytes"]),
            str(nic["sent_packets"]),
            str(nic["received_errors"] + nic["sent_errors"]),
            str(nic["received_drops"] + nic["sent_drops"]),
        )
        for nic in told["nics"]
    ]


def host_lines(told: Body) -> Sequence[tuple[str, str]]:
    """Show how busy a host is."""
    memory, cpu = told["memory"], told["cpu"] or {}
    return (
        ("Host", told["host"]),
        ("Told", f"{told['age_s']:.1f} s ago"),
        ("CPU", ", ".join(f"{100 * share:.0f} % {mode}" for mode, share in cpu.items()) or "-"),
        ("Load", " ".join(f"{load:.2f}" for load in told["load"])),
        ("Memory", f"{_kib(memory['available_kib'])} available of {_kib(memory['total_kib'])}"),
        ("Page cache", _kib(memory["cached_kib"])),
        ("Swap", f"{_kib(memory['swap_free_kib'])} free of {_kib(memory['swap_total_kib'])}"),
        ("VMs", str(len(told["vms"]))),
    )


def machine_lines(machine: Body) -> Sequence[tuple[str, str]]:
    """Show what a host is made of."""
    cpu = machine["processor"] or {}
    return (
        *((("Processor", _processor(cpu)), ("CPU features", _features(cpu["features"]))) if cpu else ()),
        *(
            (f"NUMA node {node['node']}", f"CPUs {node['cpus']}, {show_mib(node['memory_mib'])}")
            for node in machine["numa"]
        ),
        *(
            (f"Pages of {_kib(pages['size_kib'])}", f"{pages['free']} free of {pages['total']}")
            for pages in machine["hugepages"]
            if pages["total"]
        ),
        *((f"Storage {one['name']}", _storage(one)) for one in machine["storages"]),
        ("Labels", ", ".join(machine["labels"]) or "-"),
        ("Networks", ", ".join(machine["networks"]) or "-"),
        ("Not roost's", _foreign(machine)),
    )


def size(count: int | None) -> str:
    """Write a number of bytes in the unit that leaves it readable."""
    if count is None:
        return "-"
    amount, unit = float(count), "B"
    for larger in UNITS:
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"


def _kib(count: int | None) -> str:
    return size(None if count is None else count * 1024)


def _seconds(count: float | None) -> str:
    return "-" if count is None else f"{count:.1f} s"


def _cpu(told: Body) -> str:
    used = "?" if told["cpu_used"] is None else f"{told['cpu_used']:.2f}"
    return f"{used} of {'?' if told['vcpus'] is None else told['vcpus']} in use"


def _processor(cpu: Body) -> str:
    shape = f"{cpu['sockets']} sockets, {cpu['cores']} cores each, {cpu['threads']} threads a core"
    return f"{cpu['vendor']} {cpu['model']} ({cpu['arch']}; {shape})"


def _features(names: Sequence[str]) -> str:
    rest = len(names) - FEATURES_SHOWN
    return ", ".join(names[:FEATURES_SHOWN]) + (f" and {rest} more" if rest > 0 else "") or "-"


def _storage(one: Body) -> str:
    if one["problem"]:
        return f"{one['path']}: {one['problem']}"
    free = f"{show_mib(one['free_mib'])} free of {show_mib(one['total_mib'])}"
    return f"{one['path']}: {free}{'' if one['writable'] else ', read-only'}"


def _foreign(machine: Body) -> str:
    shown = [f"{one['name']} ({one['state']})" for one in machine["foreign"]]
    rest = machine["foreign_total"] - len(shown)
    named = ", ".join(shown + [f"and {rest} more"] * (rest > 0)) or "-"
    takes = machine.get("foreign_takes", {})
    return f"{named}; {show_mib(takes['memory_mib'])} kept for them" if takes.get("memory_mib") else named
