"""Name every metric, and take its samples from what is known. Names and labels stay: dashboards use them.

Units are Prometheus's own: seconds, bytes, shares of 1. Labels are ids; `roost_host_info` and `roost_vm_info`
give the names, to be joined: a name as a label of everything would begin each series anew when it changes.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from events.statistics import DiskStatistics, HostStatistics, NicStatistics, VmStatistics
from events.values import VmPhase
from events.views import HostView, VmView
from services.api.core import ids

KIB, MIB = 1024, 1024 * 1024

Kind = Literal["counter", "gauge"]
Number = float | int | None
Taken = tuple[Sequence[str], Number]
Sample = tuple[Sequence[str], float]
T = TypeVar("T")


@dataclass(frozen=True)
class HostTold:
    """What a host told last, and how long ago."""

    host: HostStatistics
    vms: Sequence[VmStatistics]
    age_s: float


@dataclass(frozen=True)
class HostKnown:
    """A host of the read model, and whether its heartbeats are heard."""

    view: HostView
    up: bool


@dataclass(frozen=True)
class Scrape:
    """Everything that one answer is made of; of the read models nothing, while they are away."""

    told: Sequence[HostTold]
    hosts: Sequence[HostKnown] = ()
    vms: Sequence[VmView] | None = None


@dataclass(frozen=True)
class Metric(Generic[T]):
    """One metric; *take* gives the values of the labels beyond those of its subject, and the number."""

    name: str
    kind: Kind
    help: str
    take: Callable[[T], Iterable[Taken]]
    labels: Sequence[str] = ()


def _one(get: Callable[[T], Number]) -> Callable[[T], Iterable[Taken]]:
    return lambda subject: [((), get(subject))]


def _counter(name: str, help_: str, get: Callable[[T], Number]) -> Metric[T]:
    return Metric(name, "counter", help_, _one(get))


def _gauge(name: str, help_: str, get: Callable[[T], Number]) -> Metric[T]:
    return Metric(name, "gauge", help_, _one(get))


def _times(number: Number, factor: int) -> Number:
    return None if number is None else number * factor


def _cpu(told: HostTold) -> Iterable[Taken]:
    shares = told.host.cpu
    return [] if shares is None else [((mode,), share) for mode, share in shares]


def _by_phase(vms: Sequence[VmView]) -> Iterable[Taken]:
    count = Counter(vm.phase for vm in vms)
    return [((phase.value,), count[phase]) for phase in VmPhase if phase is not VmPhase.DELETED]


def _load(told: HostTold) -> Iterable[Taken]:
    return [((minutes,), load) for minutes, load in zip(("1", "5", "15"), told.host.load, strict=True)]


TOLD: Sequence[Metric[HostTold]] = (
    _gauge("roost_host_statistics_age_seconds", "Since the host told its statistics.", lambda h: h.age_s),
    Metric("roost_host_cpu_share", "gauge", "How its processors spent the last interval.", _cpu, ("mode",)),
    Metric("roost_host_load", "gauge", "The kernel's load average.", _load, ("minutes",)),
    _gauge("roost_host_memory_total_bytes", "The host's memory.", lambda h: h.host.memory.total_kib * KIB),
    _gauge("roost_host_memory_free_bytes", "Unused.", lambda h: h.host.memory.free_kib * KIB),
    _gauge(
        "roost_host_memory_available_bytes",
        "What new programs could have without swapping.",
        lambda h: h.host.memory.available_kib * KIB,
    ),
    _gauge("roost_host_memory_cached_bytes", "The page cache.", lambda h: h.host.memory.cached_kib * KIB),
    _gauge("roost_host_swap_total_bytes", "Swap space.", lambda h: h.host.memory.swap_total_kib * KIB),
    _gauge("roost_host_swap_free_bytes", "Unused swap.", lambda h: h.host.memory.swap_free_kib * KIB),
    _gauge("roost_host_running_vms", "VMs that the host says run on it.", lambda h: len(h.vms)),
)
KNOWN: Sequence[Metric[HostKnown]] = (
    Metric("roost_host_info", "gauge", "1; gives the name.", lambda h: [((h.view.name,), 1)], ("name",)),
    _gauge("roost_host_up", "1 while its heartbeats are heard.", lambda h: int(h.up)),
    _gauge("roost_host_capacity_vcpus", "vCPUs that can be reserved on it.", lambda h: h.view.vcpus),
    _gauge("roost_host_allocated_vcpus", "vCPUs that are reserved.", lambda h: h.view.allocated_vcpus),
    _gauge("roost_host_capacity_memory_bytes", "Memory to reserve.", lambda h: h.view.memory_mib * MIB),
    _gauge(
        "roost_host_allocated_memory_bytes",
        "Memory that is reserved.",
        lambda h: h.view.allocated_memory_mib * MIB,
    ),
)
VM: Sequence[Metric[VmStatistics]] = (
    _gauge("roost_vm_vcpus", "vCPUs that are plugged.", lambda v: v.vcpus),
    _counter("roost_vm_cpu_seconds_total", "Processor time used.", lambda v: v.cpu_seconds),
    _counter("roost_vm_cpu_wait_seconds_total", "vCPUs waited for I/O.", lambda v: v.cpu_wait_seconds),
    _counter(
        "roost_vm_cpu_steal_seconds_total",
        "vCPUs could run and had no processor.",
        lambda v: v.cpu_steal_seconds,
    ),
    _gauge("roost_vm_memory_bytes", "What the balloon leaves.", lambda v: _times(v.memory.current_kib, KIB)),
    _gauge("roost_vm_memory_maximum_bytes", "At most.", lambda v: _times(v.memory.maximum_kib, KIB)),
    _gauge("roost_vm_memory_rss_bytes", "What QEMU holds.", lambda v: _times(v.memory.rss_kib, KIB)),
    _gauge("roost_vm_memory_unused_bytes", "By the guest.", lambda v: _times(v.memory.unused_kib, KIB)),
    _gauge(
        "roost_vm_memory_usable_bytes",
        "What the guest could give to new programs without swapping.",
        lambda v: _times(v.memory.usable_kib, KIB),
    ),
    _counter("roost_vm_swap_in_bytes_total", "In the guest.", lambda v: _times(v.memory.swap_in_kib, KIB)),
    _counter("roost_vm_swap_out_bytes_total", "In the guest.", lambda v: _times(v.memory.swap_out_kib, KIB)),
    _counter("roost_vm_major_faults_total", "In the guest.", lambda v: v.memory.major_faults),
)
DISK: Sequence[Metric[DiskStatistics]] = (
    _counter("roost_vm_disk_read_bytes_total", "Read by the guest.", lambda d: d.read_bytes),
    _counter("roost_vm_disk_reads_total", "Requests to read.", lambda d: d.read_requests),
    _counter("roost_vm_disk_read_seconds_total", "Time that reads took.", lambda d: d.read_seconds),
    _counter("roost_vm_disk_written_bytes_total", "Written by the guest.", lambda d: d.write_bytes),
    _counter("roost_vm_disk_writes_total", "Requests to write.", lambda d: d.write_requests),
    _counter("roost_vm_disk_write_seconds_total", "Time that writes took.", lambda d: d.write_seconds),
    _counter("roost_vm_disk_flushes_total", "Requests to flush.", lambda d: d.flush_requests),
    _counter("roost_vm_disk_flush_seconds_total", "Time that flushes took.", lambda d: d.flush_seconds),
    _gauge("roost_vm_disk_capacity_bytes", "What the guest sees.", lambda d: d.capacity_bytes),
    _gauge("roost_vm_disk_allocation_bytes", "The highest byte written.", lambda d: d.allocation_bytes),
    _gauge("roost_vm_disk_physical_bytes", "The size of its file.", lambda d: d.physical_bytes),
)
NIC: Sequence[Metric[NicStatistics]] = (
    _counter("roost_vm_network_received_bytes_total", "By the guest.", lambda n: n.received_bytes),
    _counter("roost_vm_network_received_packets_total", "By the guest.", lambda n: n.received_packets),
    _counter("roost_vm_network_received_errors_total", "On the way in.", lambda n: n.received_errors),
    _counter("roost_vm_network_received_drops_total", "On the way in.", lambda n: n.received_drops),
    _counter("roost_vm_network_sent_bytes_total", "By the guest.", lambda n: n.sent_bytes),
    _counter("roost_vm_network_sent_packets_total", "By the guest.", lambda n: n.sent_packets),
    _counter("roost_vm_network_sent_errors_total", "On the way out.", lambda n: n.sent_errors),
    _counter("roost_vm_network_sent_drops_total", "On the way out.", lambda n: n.sent_drops),
)
FLEET: Sequence[Metric[Sequence[VmView]]] = (
    Metric(
        "roost_vms",
        "gauge",
        "VMs in each phase.",
        _by_phase,
        ("phase",),
    ),
)
NAMED: Sequence[Metric[VmView]] = (
    Metric("roost_vm_info", "gauge", "1; gives the name.", lambda v: [((v.name,), 1)], ("name",)),
)


@dataclass(frozen=True)
class Family(Generic[T]):
    """Metrics about the same kind of thing: what labels name one, and which there are."""

    labels: Sequence[str]
    metrics: Sequence[Metric[T]]
    subjects: Callable[[Scrape], Iterable[tuple[Sequence[str], T]]]


def _vms(scrape: Scrape) -> Iterator[tuple[tuple[str, str], VmStatistics]]:
    for told in scrape.told:
        host = ids.show_host(told.host.host_id)
        yield from (((host, ids.show_vm(vm.vm_id)), vm) for vm in told.vms)


# By name: a series that is given twice makes the whole answer unreadable, whichever host named two alike.
def _disks(scrape: Scrape) -> Iterator[tuple[Sequence[str], DiskStatistics]]:
    for of, vm in _vms(scrape):
        yield from (((*of, name), disk) for name, disk in {one.target: one for one in vm.disks}.items())


def _nics(scrape: Scrape) -> Iterator[tuple[Sequence[str], NicStatistics]]:
    for of, vm in _vms(scrape):
        yield from (((*of, name), nic) for name, nic in {one.device: one for one in vm.nics}.items())


FAMILIES: Sequence[Family[Any]] = (
    Family((), FLEET, lambda scrape: [] if scrape.vms is None else [((), scrape.vms)]),
    Family(
        ("host",), KNOWN, lambda scrape: [((ids.show_host(one.view.host_id),), one) for one in scrape.hosts]
    ),
    Family(
        ("host",), TOLD, lambda scrape: [((ids.show_host(one.host.host_id),), one) for one in scrape.told]
    ),
    Family(("vm",), NAMED, lambda scrape: [((ids.show_vm(vm.vm_id),), vm) for vm in scrape.vms or ()]),
    Family(("host", "vm"), VM, _vms),
    Family(("host", "vm", "disk"), DISK, _disks),
    Family(("host", "vm", "nic"), NIC, _nics),
)
"""Every metric; the page docs/howto/metrics.md is made from it."""


def samples(scrape: Scrape) -> Iterator[tuple[Metric[Any], Sequence[str], Sequence[Sample]]]:
    """Give each metric with all of its labels' names, and all of its samples that have a number."""
    for family in FAMILIES:
        subjects = list(family.subjects(scrape))
        for metric in family.metrics:
            found = [
                ((*named, *more), number)
                for named, subject in subjects
                for more, number in metric.take(subject)
                if number is not None
            ]
            yield metric, (*family.labels, *metric.labels), found
