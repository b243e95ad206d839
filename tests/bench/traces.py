"""Read the traces that others recorded, and replay them: no clock, no chance, the same each time."""

import csv
import gzip
import heapq
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import numpy as np

from events.host import Host
from events.ids import HostId, Seq
from events.values import Resources
from services.scheduler.core.fleet import Fleet
from services.scheduler.core.packing import WHOLE, Devices, Free, Shape, devices_for, has_devices
from services.scheduler.core.ranks import Ranks
from services.scheduler.core.weights import Policy, best

ROOT = Path(__file__).parents[2]
AZURE = "azure-dev/azure_v1_dev.csv.gz"
ALIBABA_HOSTS = "alibaba-gpu-2023/openb_node_list_all_node.csv"
ALIBABA_REQUESTS = "alibaba-gpu-2023/openb_pod_list_default.csv"
NEVER_S = 1e12
SPARE_SHARE = 1.3
"""Hosts that may be woken, against the lower bound of the peak."""
NOBODY = Resources(vcpus=0, memory_mib=0)


def folder() -> Path:
    """Say where the traces are."""
    return Path(os.environ.get("ROOST_TRACES", ROOT / "../shared/traces")).resolve()


@dataclass(frozen=True)
class TracedVm:
    """A VM of a trace: it comes, and it ends."""

    arrival_s: float
    end_s: float
    needs: Resources


@dataclass(frozen=True)
class Replayed:
    """Hosts in use at the peak, the least that any packing needs then, and how the two compare over time."""

    peak: int
    bound_peak: int
    ratio: float
    rejected: int


def azure(path: Path) -> list[TracedVm]:
    """Read VMs as they came; a lifetime is the middle of its bin, and to the end where it was not seen."""
    shapes: dict[tuple[str, str], Resources] = {}
    with gzip.open(path, "rt") as lines:
        return [_traced(row, shapes) for row in csv.DictReader(lines)]


def _traced(row: dict[str, str], shapes: dict[tuple[str, str], Resources]) -> TracedVm:
    key, arrival_s = (row["vcpus"], row["mem_gib"]), float(row["arrival_s"])
    if key not in shapes:
        shapes[key] = Resources(vcpus=int(key[0]), memory_mib=round(float(key[1]) * 1024))
    lived_s = (float(row["dur_lo_s"]) + float(row["dur_hi_s"])) / 2
    return TracedVm(arrival_s, NEVER_S if row["censored"] == "1" else arrival_s + lived_s, shapes[key])


class _Meter:
    """Sums up over time what is asked for and what is in use."""

    def __init__(self, shape: Resources, now_s: float) -> None:
        self.shape = shape
        self.last_s = now_s
        self.vcpus = self.memory_mib = self.in_use = self.peak = self.bound = self.bound_peak = 0
        self.host_s = self.bound_s = 0.0

    def until(self, now_s: float) -> None:
        """Let the time pass."""
        self.host_s += self.in_use * (now_s - self.last_s)
        self.bound_s += self.bound * (now_s - self.last_s)
        self.last_s = now_s

    def ask(self, needs: Resources, sign: int) -> None:
        """Count a VM that wants to be, or no longer does; the bound is by volume."""
        self.vcpus += sign * needs.vcpus
        self.memory_mib += sign * needs.memory_mib
        self.bound = max(-(-self.vcpus // self.shape.vcpus), -(-self.memory_mib // self.shape.memory_mib))
        self.bound_peak = max(self.bound_peak, self.bound)

    def use(self, hosts: int) -> None:
        """Count hosts that came into use, or went out of it."""
        self.in_use += hosts
        self.peak = max(self.peak, self.in_use)


class Hosts:
    """A fleet of like hosts, on which VMs are placed as the scheduler places them."""

    def __init__(self, number: int, shape: Resources, policy: Policy) -> None:
        self.fleet, self.policy = Fleet(), policy
        for index in range(number):
            host_id = HostId(UUID(int=index))
            self.fleet.put(Host(host_id=host_id, name=f"h{index}", capacity=shape), Seq(1))

    def place(self, needs: Resources) -> int | None:
        """Put a VM on the best host; give its row, or None where no host can take it."""
        fleet = self.fleet
        fits = (fleet.free_memory >= needs.memory_mib) & (fleet.free_vcpus >= needs.vcpus)
        row = best(fleet, fits, needs, self.policy)
        if row is not None:
            self.change(row, needs, 1)
        return row

    def change(self, row: int, needs: Resources, sign: int) -> None:
        """Take room on a host, or give it back."""
        host = self.fleet[row].host
        allocated = host.allocated.plus(needs) if sign > 0 else host.allocated.minus(needs)
        self.fleet.put(host.model_copy(update={"allocated": allocated, "vms": host.vms + sign}), Seq(1))
        self.fleet.ranks.count(Shape(needs.vcpus, needs.memory_mib), sign)


def replay(
    vms: Sequence[TracedVm], shape: Resources, hosts: int | None, policy: Policy = Policy.PACKED
) -> Replayed:
    """Place *vms* as they come on so many hosts; None: on as many as it takes, with all others asleep."""
    known = Hosts(hosts or int(bound_peak(vms, shape) * SPARE_SHARE), shape, policy)
    meter, rejected = _Meter(shape, vms[0].arrival_s), 0
    leaving: list[tuple[float, int, int | None]] = []
    for number, vm in enumerate(vms):
        while leaving and leaving[0][0] <= vm.arrival_s:
            end_s, gone, left = heapq.heappop(leaving)
            meter.until(end_s)
            meter.ask(vms[gone].needs, -1)
            if left is not None:
                known.change(left, vms[gone].needs, -1)
                meter.use(-int(known.fleet.guests[left] == 0))
        meter.until(vm.arrival_s)
        meter.ask(vm.needs, 1)
        row = known.place(vm.needs)
        heapq.heappush(leaving, (vm.end_s, number, row))
        if row is None:
            rejected += 1
        else:
            meter.use(int(known.fleet.guests[row] == 1))
    assert hosts is not None or rejected == 0, "there are too few hosts to be woken"
    return Replayed(meter.peak, meter.bound_peak, meter.host_s / meter.bound_s, rejected)


def bound_peak(vms: Sequence[TracedVm], shape: Resources) -> int:
    """Give the most hosts that any packing needs at once."""
    meter, leaving = _Meter(shape, 0.0), list[tuple[float, int]]()
    for number, vm in enumerate(vms):
        while leaving and leaving[0][0] <= vm.arrival_s:
            meter.ask(vms[heapq.heappop(leaving)[1]].needs, -1)
        meter.ask(vm.needs, 1)
        heapq.heappush(leaving, (vm.end_s, number))
    return meter.bound_peak


@dataclass(frozen=True)
class GpuHosts:
    """Hosts of a trace, their GPU model each, and what was asked: a shape, and the models that will do."""

    capacity: Free
    devices: Devices
    models: tuple[str, ...]
    asked: tuple[tuple[Shape, frozenset[str]], ...]


def alibaba(hosts: Path, requests: Path) -> GpuHosts:
    """Read hosts and requests; a vCPU is a thousandth of a core here."""
    nodes, pods = _rows(hosts), _rows(requests)
    gpus = np.array([int(node["gpu"]) for node in nodes])
    devices = (np.arange(gpus.max()) < gpus[:, None]).astype(np.int32) * np.int32(WHOLE)
    return GpuHosts(
        Free(
            np.array([node["cpu_milli"] for node in nodes], np.float32),
            np.array([node["memory_mib"] for node in nodes], np.float32),
            devices,
        ),
        devices,
        tuple(node["model"] for node in nodes),
        tuple((_shape(pod), frozenset(pod["gpu_spec"].split("|")) - {""}) for pod in pods),
    )


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open() as lines:
        return list(csv.DictReader(lines))


def _shape(pod: dict[str, str]) -> Shape:
    gpus = int(pod["num_gpu"])
    return Shape(int(pod["cpu_milli"]), int(pod["memory_mib"]), gpus, int(pod["gpu_milli"]) if gpus else 0)


def fill(hosts: GpuHosts, seed: int, ratio: float) -> float:
    """Ask in an order of *seed*, then again at random, until *ratio* of all GPUs was asked for.

    Gives the share of the GPUs that was given away.
    Nothing ends. A request that no host can take is refused, and counts as asked for.
    """
    order = np.random.default_rng(seed)
    numbers = [*order.permutation(len(hosts.asked)), *order.choice(len(hosts.asked), len(hosts.asked))]
    devices, total = hosts.devices.copy(), int(hosts.devices.sum())
    free = Free(hosts.capacity.vcpus.copy(), hosts.capacity.memory_mib.copy(), devices)
    models, ranks, asked, given = np.array(hosts.models), Ranks(), 0, 0
    for number in numbers:
        shape, wanted = hosts.asked[number]
        asked += shape.devices * shape.milli
        if asked > ratio * total:
            break
        fits = (free.vcpus >= shape.vcpus) & (free.memory_mib >= shape.memory_mib)
        fits &= has_devices(devices, shape)
        if wanted:
            fits &= np.isin(models, sorted(wanted))
        if not fits.any():
            continue
        row = int(np.where(fits, ranks.cost(free, lambda: hosts.capacity, shape), np.inf).argmin())
        if shape.devices:
            devices[row] = devices_for(free, row, shape, ranks.mix(lambda: hosts.capacity))
        free.vcpus[row] -= shape.vcpus
        free.memory_mib[row] -= shape.memory_mib
        ranks.changed(row)
        ranks.count(shape, 1)
        given += shape.devices * shape.milli
    return given / total
