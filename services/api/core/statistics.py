"""Show statistics: what was told, how old it is, and how busy that makes a VM."""

from collections.abc import Sequence
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from events.ids import HostId, VmId
from events.statistics import (
    CpuShares,
    DiskStatistics,
    HostMemory,
    HostStatistics,
    NicStatistics,
    VmMemory,
    VmStatistics,
)
from services.api.core import ids


class _Out(BaseModel):
    model_config = ConfigDict(frozen=True)


class VmStatisticsBody(_Out):
    """The figures of a VM that runs. Counters count from its start on this host, and begin anew with it."""

    vm: str
    host: str
    at: datetime
    """By the host's own clock."""
    age_s: float
    vcpus: int | None
    """None, as memory and disks, while the guest's hypervisor gives no answer."""
    cpu_used: float | None = Field(
        description="How many processors it kept busy over the last interval: 1.5 is one and a half. None "
        "until two were heard."
    )
    cpu_seconds: float
    cpu_wait_seconds: float | None
    cpu_steal_seconds: float | None
    memory: VmMemory
    disks: Sequence[DiskStatistics]
    nics: Sequence[NicStatistics]


class HostStatisticsBody(_Out):
    """The figures of a host."""

    host: str
    at: datetime
    """By the host's own clock."""
    age_s: float
    interval_s: float
    cpu: CpuShares | None
    """None in the first word after its daemon started."""
    memory: HostMemory
    load: tuple[float, float, float]
    vms: Sequence[str]
    """Those that run, by id."""


def vm_statistics_body(
    vm: VmStatistics, host: HostStatistics, *, age_s: float, before: tuple[datetime, VmStatistics] | None
) -> VmStatisticsBody:
    """Show *vm*, which *host* told of; *before* is what it had told the last time, and when."""
    return VmStatisticsBody(
        vm=ids.show_vm(vm.vm_id),
        host=ids.show_host(host.host_id),
        at=host.at,
        age_s=round(age_s, 3),
        vcpus=vm.vcpus,
        cpu_used=None if before is None else cpu_used(*before, host.at, vm),
        cpu_seconds=vm.cpu_seconds,
        cpu_wait_seconds=vm.cpu_wait_seconds,
        cpu_steal_seconds=vm.cpu_steal_seconds,
        memory=vm.memory,
        disks=vm.disks,
        nics=vm.nics,
    )


def host_statistics_body(
    host_id: HostId, told: HostStatistics, vms: Sequence[VmId], *, age_s: float
) -> HostStatisticsBody:
    """Show what a host told of itself."""
    return HostStatisticsBody(
        host=ids.show_host(host_id),
        at=told.at,
        age_s=round(age_s, 3),
        interval_s=told.interval_s,
        cpu=told.cpu,
        memory=told.memory,
        load=told.load,
        vms=[ids.show_vm(vm_id) for vm_id in sorted(vms)],
    )


def cpu_used(then: datetime, before: VmStatistics, at: datetime, vm: VmStatistics) -> float | None:
    """Give how many processors *vm* kept busy between two looks; None where they are not of one run."""
    passed_s = (at - then).total_seconds()
    used_s = vm.cpu_seconds - before.cpu_seconds
    if before.generation != vm.generation or passed_s <= 0 or used_s < 0:
        return None
    return round(used_s / passed_s, 3)
