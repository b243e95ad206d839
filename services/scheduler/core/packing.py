"""Say what a placement wastes: how much less the free room of a host is worth to the VMs of today after it.

What room is worth is one function for every shape of host, with one set of constants:

- *Room for the mix*: for each shape that is placed now, how many more of it would go in, weighed by its share
  of the demand, and whether one would at all. What fits nobody is worth nothing: the expected fragmentation
  of Weng et al., "Beware of Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation Gradient
  Descent", USENIX ATC 2023, which weighs devices alone; here vCPUs and memory are weighed alike.
- *Stranding*: vCPUs that no memory is left for (Hadary et al., "Protean", OSDI 2020).
- *Fullest first*: beside what it loses of that, a host costs a little for all that it has free, so that
  emptier ones drain.

Every function is pure. Arrays are of shape (hosts,), or (shapes, 1) for the mix; devices, GPUs or the like,
of shape (hosts, places), count in thousandths what each has free, and 0 where there is none.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Room = NDArray[np.float32] | NDArray[np.int32]
Devices = NDArray[np.int32]

WHOLE = 1000
"""Thousandths of one device."""
VCPUS_FREE, MEMORY_FREE = 0.11, 0.06
"""Cost of a mean host's vCPUs, or memory, being free where a fuller host would do."""
STRANDED = 0.9
"""What a mean host's vCPUs are worth less where no memory is left for them, at the mix's ratio."""
ROOM_VCPUS, ROOM_MEMORY = 2.0, 0.3
"""Worth of a mean host's room for whole VMs of the mix."""
OPEN_VCPUS, OPEN_MEMORY, OPEN_DEVICE = 2.0, 0.5, 30.0
"""Worth of a mean host's vCPUs, its memory, or one device, where one more VM of the mix goes in."""
SHAPES_MAX = 32
"""Shapes of the mix that are weighed: the most frequent ones."""
TINY = 1e-9


@dataclass(frozen=True, order=True)
class Shape:
    """What one VM takes: *devices* of them, *milli* thousandths of each."""

    vcpus: int
    memory_mib: int
    devices: int = 0
    milli: int = 0


@dataclass(frozen=True, eq=False)
class Free:
    """What hosts have free."""

    vcpus: Room
    memory_mib: Room
    devices: Devices | None = None

    def rows(self, rows: "slice | NDArray[np.intp]") -> "Free":
        """Give some hosts."""
        devices = self.devices[rows] if self.devices is not None else None
        return Free(self.vcpus[rows], self.memory_mib[rows], devices)


@dataclass(frozen=True, eq=False)
class Mix:
    """The shapes that are asked for, and what a unit of room for each is worth. Arrays: (shapes, 1)."""

    shapes: tuple[Shape, ...]
    vcpus: Floats
    memory_mib: Floats
    per_vcpu: float
    """The share of a mean host's capacity that one vCPU, or one MiB, is."""
    per_mib: float
    vcpus_per_mib: float
    """Of all that is placed."""
    fits_vcpu: Floats
    """Worth of a free vCPU, or MiB, or device, on a host that one more fits."""
    fits_mib: Floats
    fits_device: Floats
    each: Floats
    """Worth of room for each one more."""
    wants: Mapping[tuple[int, int], Sequence[int]]
    """The devices and thousandths of each that are asked for, and by which of the shapes."""


def bucket(number: int) -> int:
    """Round down to a power of two; 0 below 4. It changes rarely, and so does all that is made from it."""
    return 0 if number < 4 else 1 << (number.bit_length() - 1)


def mix_of(placed: Mapping[Shape, int], mean_vcpus: float, mean_mib: float) -> Mix:
    """Weigh the shapes of the VMs that are placed now: what is asked for next is like them.

    A shape weighs, in each dimension, its share of the demand for it. The same VMs give the same mix.
    """
    numbers = {shape: bucket(number) for shape, number in placed.items() if bucket(number)}
    shapes = tuple(sorted(numbers, key=lambda shape: (-numbers[shape], shape))[:SHAPES_MAX])
    rows = [(one.vcpus, one.memory_mib, one.devices, numbers[one]) for one in shapes]
    vcpus, memory, devices, number = np.array(rows, np.float64).reshape(-1, 4).T[:, :, None]
    total_vcpus, total_mib = float((number * vcpus).sum()), float((number * memory).sum())
    per_vcpu, per_mib = 1 / max(1.0, mean_vcpus), 1 / max(1.0, mean_mib)
    of_vcpus = number * vcpus / max(total_vcpus, TINY) * per_vcpu
    of_memory = number * memory / max(total_mib, TINY) * per_mib
    for_devices = number * (devices > 0)
    wants: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, one in enumerate(shapes):
        if one.devices:
            wants[one.devices, one.milli].append(index)
    return Mix(
        shapes=shapes,
        vcpus=np.maximum(vcpus, TINY).astype(np.float32),
        memory_mib=np.maximum(memory, TINY).astype(np.float32),
        per_vcpu=per_vcpu,
        per_mib=per_mib,
        vcpus_per_mib=total_vcpus / total_mib if total_mib else per_mib / per_vcpu,
        fits_vcpu=(OPEN_VCPUS * of_vcpus).astype(np.float32),
        fits_mib=(OPEN_MEMORY * of_memory).astype(np.float32),
        fits_device=(OPEN_DEVICE / WHOLE * for_devices / max(float(for_devices.sum()), TINY)).astype(
            np.float32
        ),
        each=(ROOM_VCPUS * of_vcpus * vcpus + ROOM_MEMORY * of_memory * memory).astype(np.float32),
        wants=dict(wants),
    )


def worth(free: Free, mix: Mix) -> Floats:
    """Give what the free room of each host is worth."""
    stranded = np.maximum(free.vcpus - free.memory_mib * np.float32(mix.vcpus_per_mib), 0)
    found: Floats = stranded * np.float32(-STRANDED * mix.per_vcpu)
    if not mix.shapes:
        return found
    # Below zero where a capacity shrank under what is reserved: no room either.
    room = np.floor(np.minimum(free.vcpus / mix.vcpus, free.memory_mib / mix.memory_mib)).clip(0)
    if free.devices is not None:
        room, usable = _room_with_devices(room, free.devices, mix)
        found += ((room > 0) * usable * mix.fits_device).sum(axis=0)
    fits = (room > 0).astype(np.float32)
    found += room.T @ mix.each[:, 0]
    found += (fits.T @ mix.fits_vcpu[:, 0]) * free.vcpus
    found += (fits.T @ mix.fits_mib[:, 0]) * free.memory_mib
    return found


def cost(free: Free, shape: Shape, mix: Mix) -> Floats:
    """Give what *shape* would waste on each host that it fits, lower is better: the worth that is lost by it,
    and what of the host it would have been better not to touch.
    """
    hosts, devices = len(free.vcpus), free.devices
    after = np.arange(hosts)
    if devices is not None:
        after, left = _ways(devices, shape)
        devices = np.concatenate([devices, left])
    vcpus, memory = free.vcpus.astype(np.float32), free.memory_mib.astype(np.float32)
    both = Free(
        np.concatenate([vcpus, vcpus[after] - np.float32(shape.vcpus)]),
        np.concatenate([memory, memory[after] - np.float32(shape.memory_mib)]),
        devices,
    )
    worths = worth(both, mix)
    left_worth = worths[hosts:]
    if free.devices is not None:
        left_worth = np.full(hosts, -np.inf, np.float32)
        np.maximum.at(left_worth, after, worths[hosts:])
    found: Floats = worths[:hosts] - left_worth
    found += vcpus * np.float32(VCPUS_FREE * mix.per_vcpu) + memory * np.float32(MEMORY_FREE * mix.per_mib)
    return found


def devices_for(free: Free, row: int, shape: Shape, mix: Mix) -> Devices:
    """Give what the devices of the host *row* will have free when *shape*, which fits there, has its own."""
    assert free.devices is not None, "who wants devices goes where there are some"
    _, devices = _ways(free.devices[row : row + 1], shape)
    vcpus, memory = (
        np.full(len(devices), has - takes, np.float32)
        for has, takes in ((free.vcpus[row], shape.vcpus), (free.memory_mib[row], shape.memory_mib))
    )
    best: Devices = devices[int(worth(Free(vcpus, memory, devices), mix).argmax())]
    return best


def has_devices(devices: Devices, shape: Shape) -> NDArray[np.bool_]:
    """Say which hosts have the devices that *shape* wants."""
    return _sum(devices >= max(1, shape.milli)) >= shape.devices


def _sum(parts: NDArray[np.bool_] | Devices) -> Floats:
    """Sum up each host's devices: as a product, which is faster than a sum over a short axis."""
    return parts.astype(np.float32) @ np.ones(parts.shape[1], np.float32)


def _room_with_devices(room: Floats, devices: Devices, mix: Mix) -> tuple[Floats, Floats]:
    """Bound the *room* for each shape by its devices; give with it the thousandths that are of use to one."""
    usable = np.zeros_like(room)
    for (number, milli), wanting in mix.wants.items():
        pieces = np.floor(_sum(devices // milli) / np.float32(number))
        able = devices >= milli
        pieces[_sum(able) < number] = 0
        room[wanting] = np.minimum(room[wanting], pieces)
        usable[wanting] = _sum(devices * able)
    return room, usable


def _ways(devices: Devices, shape: Shape) -> tuple[NDArray[np.intp], Devices]:
    """List every way to take *shape* from hosts that have it: the host's row, and its devices after it."""
    if shape.devices == 0:
        return np.arange(len(devices)), devices
    able = devices >= shape.milli
    if shape.devices > 1:
        rows = np.flatnonzero(able.sum(axis=1) >= shape.devices)
        first = able[rows] & (np.cumsum(able[rows], axis=1) <= shape.devices)
        return rows, devices[rows] - first.astype(np.int32) * np.int32(shape.milli)
    host, place = np.nonzero(able)
    after = devices[host]
    after[np.arange(len(host)), place] -= shape.milli
    return host, after
