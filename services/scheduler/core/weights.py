"""Say which of the hosts that can take a VM is best: weights, and the policies that mix them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from events.values import Resources
from services.scheduler.core.fleet import Fleet, Mask
from services.scheduler.core.packing import Shape

NEVER = np.float32(np.inf)
Cost = NDArray[np.float32]
"""Of shape (hosts,); what is lower is better. From 0 to 1 for a host that can take the VM, but for
the waste and the later id, which have units of their own."""


@dataclass(frozen=True)
class Shares:
    """What of each host would be promised if it took the VM, as shares of what it has."""

    fleet: Fleet
    needs: Resources
    vcpus: Cost
    memory: Cost


def shares(fleet: Fleet, needs: Resources) -> Shares:
    """Look at all hosts at once."""
    vcpus = fleet.per_vcpu * np.float32(needs.vcpus)
    vcpus += fleet.used_vcpus
    memory = fleet.per_mib * np.float32(needs.memory_mib)
    memory += fleet.used_memory
    return Shares(fleet, needs, vcpus, memory)


def _guests(seen: Shares) -> Cost:
    guests = seen.fleet.guests
    return guests.astype(np.float32) * np.float32(1 / max(1, int(guests.max(initial=0))))


def _waste(seen: Shares) -> Cost:
    shape = Shape(seen.needs.vcpus, seen.needs.memory_mib)
    return seen.fleet.ranks.cost(seen.fleet.free, seen.fleet.capacity, shape)


def _empty(seen: Shares) -> Cost:
    empty: Cost = (seen.fleet.guests == 0).astype(np.float32)
    return empty


def _later(seen: Shares) -> Cost:
    return _doublings(len(seen.fleet))


@lru_cache(maxsize=1)
def _doublings(hosts: int) -> Cost:
    doublings: Cost = np.log2(np.arange(1, hosts + 1, dtype=np.float32))
    return doublings


class Weight(StrEnum):
    """What a host may be judged by."""

    SPREAD_VCPUS = "spread_vcpus"
    """The share of its vCPUs that would be promised."""
    SPREAD_MEMORY = "spread_memory"
    SPREAD = "spread"
    """The share of that of which less would be left."""
    IMBALANCE = "imbalance"
    """How far apart both shares would be: what is left of one is of no use without the other."""
    GUESTS = "guests"
    """How many VMs it has, to the most that any has."""
    WASTE = "waste"
    """What the room that is left would be worth less to the VMs of today (`packing`)."""
    EMPTY = "empty"
    """Whether it has no VM: 1 or 0."""
    LATER = "later"
    """How often the number of hosts before it doubles: the first ones stay full, and the last ones drain."""


WEIGHTS: Mapping[Weight, Callable[[Shares], Cost]] = {
    Weight.SPREAD_VCPUS: lambda seen: seen.vcpus,
    Weight.SPREAD_MEMORY: lambda seen: seen.memory,
    Weight.SPREAD: lambda seen: np.maximum(seen.vcpus, seen.memory),
    Weight.IMBALANCE: lambda seen: np.abs(seen.vcpus - seen.memory),
    Weight.GUESTS: _guests,
    Weight.WASTE: _waste,
    Weight.EMPTY: _empty,
    Weight.LATER: _later,
}

Factors = Mapping[Weight, float]


class Policy(StrEnum):
    """The mixes that roost brings."""

    BALANCED = "balanced"
    """Where most is left of what is scarcest, so that a busy guest finds room."""
    PACKED = "packed"
    """Where least is wasted of what today's VMs could use, so that hosts stay empty to be switched off."""
    EVEN_COUNT = "even_count"
    """As many VMs on each host."""


POLICIES: Mapping[Policy, Factors] = {
    Policy.BALANCED: {Weight.SPREAD: 1.0, Weight.IMBALANCE: 0.1},
    # No waste is worth a hundred: an empty host is taken where no other fits.
    Policy.PACKED: {Weight.WASTE: 1.0, Weight.EMPTY: 100.0, Weight.LATER: 0.005},
    Policy.EVEN_COUNT: {Weight.GUESTS: 1.0, Weight.SPREAD: 0.1},
}


def best(fleet: Fleet, fits: Mask, needs: Resources, policy: Policy) -> int | None:
    """Give the row of the best host among those that fit; of equals that of the lower id. None: none fits."""
    if not fits.any():
        return None
    seen = shares(fleet, needs)
    cost = np.zeros(len(fleet), np.float32)
    for weight, factor in POLICIES[policy].items():
        cost += WEIGHTS[weight](seen) * np.float32(factor)
    return int(np.where(fits, cost, NEVER).argmin())
