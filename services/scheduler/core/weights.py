"""Say which of the hosts that can take a VM is best: weights, and the policies that mix them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from events.values import Resources
from services.scheduler.core.fleet import Fleet, Mask

NEVER = np.float32(np.inf)
Cost = NDArray[np.float32]
"""Of shape (hosts,); what is lower is better. From 0 to 1 for a host that can take the VM."""


@dataclass(frozen=True)
class Shares:
    """What of each host would be promised if it took the VM, as shares of what it has."""

    fleet: Fleet
    vcpus: Cost
    memory: Cost


def shares(fleet: Fleet, needs: Resources) -> Shares:
    """Look at all hosts at once."""
    vcpus = fleet.per_vcpu * np.float32(needs.vcpus)
    vcpus += fleet.used_vcpus
    memory = fleet.per_mib * np.float32(needs.memory_mib)
    memory += fleet.used_memory
    return Shares(fleet, vcpus, memory)


def _guests(seen: Shares) -> Cost:
    guests = seen.fleet.guests
    return guests.astype(np.float32) * np.float32(1 / max(1, int(guests.max(initial=0))))


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


WEIGHTS: Mapping[Weight, Callable[[Shares], Cost]] = {
    Weight.SPREAD_VCPUS: lambda seen: seen.vcpus,
    Weight.SPREAD_MEMORY: lambda seen: seen.memory,
    Weight.SPREAD: lambda seen: np.maximum(seen.vcpus, seen.memory),
    Weight.IMBALANCE: lambda seen: np.abs(seen.vcpus - seen.memory),
    Weight.GUESTS: _guests,
}

Factors = Mapping[Weight, float]


class Policy(StrEnum):
    """The mixes that roost brings."""

    BALANCED = "balanced"
    """Where most is left of what is scarcest, so that a busy guest finds room."""
    PACKED = "packed"
    """Where least is left, so that hosts stay empty for large VMs, or to be switched off."""
    EVEN_COUNT = "even_count"
    """As many VMs on each host."""


POLICIES: Mapping[Policy, Factors] = {
    Policy.BALANCED: {Weight.SPREAD: 1.0, Weight.IMBALANCE: 0.1},
    Policy.PACKED: {Weight.SPREAD_VCPUS: -0.5, Weight.SPREAD_MEMORY: -0.5, Weight.IMBALANCE: 1.0},
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
