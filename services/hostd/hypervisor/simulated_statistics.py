"""Make up the figures of a simulated guest: the same at any two looks at the same moment, never falling."""

from datetime import datetime

from events.ids import Generation, VmId
from events.spec import VmSpec
from events.statistics import DiskStatistics, NicStatistics, VmMemory, VmStatistics

BUSY = 0.05
"""The share of its vCPUs that a guest uses."""
READ_BYTES_S, WRITE_BYTES_S = 4096, 8192
NET_BYTES_S, PACKET_BYTES = 1500, 150
REQUEST_BYTES = 4096
REQUEST_S = 0.0002
BOOT_READ_BYTES = 16 * 1024 * 1024
USED_SHARE = 4
"""A guest uses one part in so many of its memory."""


def simulated_statistics(
    now: datetime, started_at: datetime, vm_id: VmId, generation: Generation, spec: VmSpec
) -> VmStatistics:
    """Give what a guest of *spec* that has run since *started_at* would show *now*."""
    ran_s = max(0.0, (now - started_at).total_seconds())
    memory_kib = spec.memory_mib * 1024
    used_kib = memory_kib // USED_SHARE
    return VmStatistics(
        vm_id=vm_id,
        generation=generation,
        vcpus=spec.vcpus,
        cpu_seconds=ran_s * spec.vcpus * BUSY,
        cpu_wait_seconds=0.0,
        cpu_steal_seconds=0.0,
        memory=VmMemory(
            current_kib=memory_kib,
            maximum_kib=memory_kib,
            rss_kib=used_kib,
            unused_kib=memory_kib - used_kib,
            available_kib=memory_kib,
            usable_kib=memory_kib - used_kib,
            swap_in_kib=0,
            swap_out_kib=0,
            major_faults=0,
        ),
        disks=tuple(
            _disk(f"vd{chr(ord('a') + number)}", (disk.size_mib or 0) * 1024 * 1024, ran_s)
            for number, disk in enumerate(spec.disks)
        ),
        nics=tuple(_nic(f"sim{number}", ran_s) for number, _ in enumerate(spec.nics)),
    )


def _disk(target: str, capacity_bytes: int, ran_s: float) -> DiskStatistics:
    read, written = BOOT_READ_BYTES + int(ran_s * READ_BYTES_S), int(ran_s * WRITE_BYTES_S)
    reads, writes = read // REQUEST_BYTES, written // REQUEST_BYTES
    return DiskStatistics(
        target=target,
        read_bytes=read,
        read_requests=reads,
        read_seconds=reads * REQUEST_S,
        write_bytes=written,
        write_requests=writes,
        write_seconds=writes * REQUEST_S,
        allocation_bytes=min(written, capacity_bytes),
        capacity_bytes=capacity_bytes,
        physical_bytes=min(written, capacity_bytes),
    )


def _nic(device: str, ran_s: float) -> NicStatistics:
    total = int(ran_s * NET_BYTES_S)
    packets = total // PACKET_BYTES
    return NicStatistics(
        device=device,
        received_bytes=total,
        received_packets=packets,
        sent_bytes=total // 2,
        sent_packets=packets // 2,
    )
