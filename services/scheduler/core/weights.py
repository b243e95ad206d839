"""Say which of the hosts that can take a VM is best: weights, and the policies that mix them."""

from collections.abc import Callable, Mapping
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from events.values import Resources
from services.scheduler.core.fleet import Fleet, Mask

Cost = NDArray[np.float64]
"""Of shape (hosts,); what is lower is better. From 0 to 1 for a host that can take the VM."""


def _used_vcpus(fleet: Fleet, needs: Resources) -> Cost:
    return 1 - (fleet.free_vcpus - needs.vcpus) / np.maximum(1, fleet.capacity_vcpus)


def _used_memory(fleet: Fleet, needs: Resources) -> Cost:
    return 1 - (fleet.free_memory - needs.memory_mib) / np.maximum(1, fleet.capacity_memory)


def _fullest(fleet: Fleet, needs: Resources) -> Cost:
    return np.maximum(_used_vcpus(fleet, needs), _used_memory(fleet, needs))


def _imbalance(fleet: Fleet, needs: Resources) -> Cost:
    return np.abs(_used_vcpus(fleet, needs) - _used_memory(fleet, needs))


def _guests(fleet: Fleet, _: Resources) -> Cost:
    return fleet.guests / max(1, int(fleet.guests.max(initial=0)))


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


WEIGHTS: Mapping[Weight, Callable[[Fleet, Resources], Cost]] = {
    Weight.SPREAD_VCPUS: _used_vcpus,
    Weight.SPREAD_MEMORY: _used_memory,
    Weight.SPREAD: _fullest,
    Weight.IMBALANCE: _imbalance,
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
    cost = sum(factor * WEIGHTS[weight](fleet, needs) for weight, factor in POLICIES[policy].items())
    return int(np.argmin(np.where(fits, cost, np.inf)))
