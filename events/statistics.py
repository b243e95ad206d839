"""What hosts tell of themselves and their VMs every few seconds: signals, never stored, no events.

Counters count from the start of the domain or device and fall back to 0 with it. What the hypervisor or the
kernel does not give is None.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated

from pydantic import Field

from events.ids import Generation, HostId, VmId
from events.spec import DISKS_MAX, NICS_MAX
from events.values import Value

STATISTICS_S = 10.0
"""How often a host tells them."""
MISSED_MAX = 3
"""After so many intervals without a word what was told last is no longer shown."""
SENT_BYTES_MAX = 200 * 1024
"""What one message holds, but for a single VM that alone is larger."""
HEARD_BYTES_MAX = 512 * 1024
"""What is larger was not written by roost, and is not read."""
PARTS_MAX = 16
"""Room for 2,000 VMs with one disk and one card each; those beyond are left out."""
VMS_MAX = 4096
LABEL_MAX, PATH_MAX = 253, 4096
MORE_DISKS = 4
"""Beside those of the spec: the image's own, its CD, and what was put in by hand."""

Count = Annotated[int, Field(ge=0, lt=2**64)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class CpuShares(Value):
    """How the processors of a host spent the last interval; the shares add up to at most 1."""

    user: Share
    """With what ran at a lower priority, and guests."""
    system: Share
    """With interrupts."""
    idle: Share
    iowait: Share
    steal: Share
    """Taken by a hypervisor below this host."""


class HostMemory(Value):
    """The kernel's own figures (`/proc/meminfo`)."""

    total_kib: Count
    free_kib: Count
    available_kib: Count
    """What new programs could have without swapping."""
    cached_kib: Count
    swap_total_kib: Count
    swap_free_kib: Count


class VmMemory(Value):
    """A guest's memory as the balloon and QEMU's process show it; most of it needs the guest's driver."""

    current_kib: Count | None = None
    """What the balloon leaves it."""
    maximum_kib: Count | None = None
    rss_kib: Count | None = None
    """What QEMU's process holds of the host's memory."""
    unused_kib: Count | None = None
    available_kib: Count | None = None
    """All that the guest's kernel sees."""
    usable_kib: Count | None = None
    """What it could give to new programs without swapping."""
    swap_in_kib: Count | None = None
    swap_out_kib: Count | None = None
    major_faults: Count | None = None


class DiskStatistics(Value):
    """One disk since the domain's start."""

    target: str = Field(max_length=LABEL_MAX)
    """As the hypervisor names it: `vda`."""
    path: str = Field(default="", max_length=PATH_MAX)
    read_bytes: Count = 0
    read_requests: Count = 0
    read_seconds: Seconds = 0.0
    write_bytes: Count = 0
    write_requests: Count = 0
    write_seconds: Seconds = 0.0
    flush_requests: Count = 0
    flush_seconds: Seconds = 0.0
    allocation_bytes: Count | None = None
    """The highest byte that was written."""
    capacity_bytes: Count | None = None
    """What the guest sees."""
    physical_bytes: Count | None = None
    """The size of the file."""


class NicStatistics(Value):
    """One network card since its device was made, as the guest sees it: received is what came to it."""

    device: str = Field(max_length=LABEL_MAX)
    """The host's end of it: `vnet0`."""
    received_bytes: Count = 0
    received_packets: Count = 0
    received_errors: Count = 0
    received_drops: Count = 0
    sent_bytes: Count = 0
    sent_packets: Count = 0
    sent_errors: Count = 0
    sent_drops: Count = 0


class VmStatistics(Value):
    """One running VM."""

    vm_id: VmId
    generation: Generation
    vcpus: Count | None = None
    """None where the guest's QEMU gave no answer; of its memory and disks there is nothing then, either."""
    cpu_seconds: Seconds
    """What all of it used of the host's processors, QEMU's own work included where the host tells."""
    cpu_wait_seconds: Seconds | None = None
    """How long its vCPUs waited for I/O."""
    cpu_steal_seconds: Seconds | None = None
    """How long its vCPUs could have run and had no processor."""
    memory: VmMemory = VmMemory()
    disks: tuple[DiskStatistics, ...] = Field(default=(), max_length=DISKS_MAX + MORE_DISKS)
    nics: tuple[NicStatistics, ...] = Field(default=(), max_length=NICS_MAX)


class HostStatistics(Value):
    """One host with all of its VMs that run, or one part of that where it would be too large a message."""

    host_id: HostId
    at: datetime
    """The same in all parts."""
    interval_s: float = Field(gt=0)
    cpu: CpuShares | None = None
    """None in the first one that a process tells: there is nothing to compare with."""
    memory: HostMemory
    load: tuple[Seconds, Seconds, Seconds]
    """Over 1, 5 and 15 minutes."""
    vms: tuple[VmStatistics, ...] = Field(default=(), max_length=VMS_MAX)
    part: int = Field(default=1, ge=1)
    parts: int = Field(default=1, ge=1, le=PARTS_MAX)


_FRAME_BYTES = 64
"""What is written around the VMs of a part, generously: their name, its number, and how many there are."""


def messages(told: HostStatistics, most: int = SENT_BYTES_MAX) -> Iterator[bytes]:
    """Write *told* as the messages to send: one, or several where one had more than *most* bytes."""
    body = _written(told)
    if len(body) <= most:
        yield body
        return
    room = most - len(_written(told.model_copy(update={"vms": ()}))) - _FRAME_BYTES
    groups: list[list[VmStatistics]] = [[]]
    taken = 0
    for vm in told.vms:
        size = len(_written(vm)) + 1
        if groups[-1] and taken + size > room:
            groups.append([])
            taken = 0
        groups[-1].append(vm)
        taken += size
    for number, group in enumerate(groups[:PARTS_MAX], 1):
        parts = {"vms": tuple(group), "part": number, "parts": min(len(groups), PARTS_MAX)}
        yield _written(told.model_copy(update=parts))


def _written(value: Value) -> bytes:
    return value.model_dump_json(exclude_none=True, exclude_defaults=True).encode()
