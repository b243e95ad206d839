"""How many VMs one process places a second, with the default policy, on fleets with ten VMs a host."""

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from uuid import UUID

import numpy as np

from events.commands import StartVm
from events.events import HostReserved
from events.host import Host
from events.ids import CommandId, HostId, Seq, VmId
from events.spec import VmSpec
from events.values import Desired, Resources
from events.vm import Vm
from services.scheduler.core.decide import decide
from services.scheduler.core.decision import Known, Scene
from services.scheduler.core.filters import candidates
from services.scheduler.core.fleet import Fleet
from services.scheduler.core.groups import Groups
from services.scheduler.core.request import Request
from services.scheduler.core.weights import Policy, best
from tests.bench.result import Result, spread

SIZES = {100: None, 1000: 10_000.0, 10_000: 5_000.0, 100_000: None}
"""Hosts, and the rate aimed at."""
HOST_VCPUS, HOST_MIB, GUESTS = 256, 262_144, 10
SHAPES = [(1, 2048), (2, 4096), (2, 8192), (4, 8192), (4, 16384), (8, 16384), (8, 32768)]
RUNS, RUN_S = 3, 1.0


def measure() -> Sequence[Result]:
    """Choose hosts on fleets of each size; the detail has the whole decision, events and all."""
    results = []
    for size, aim in SIZES.items():
        fleet = _a_fleet(size)
        rates = [_rate(partial(_choose, fleet)) for _ in range(RUNS)]
        whole = [_rate(partial(_decide, fleet)) for _ in range(RUNS)]
        results.append(
            Result(
                f"scheduler.core_per_s_{size}",
                round(statistics.median(rates)),
                "1/s",
                aim,
                {**spread(rates), "whole_decisions_per_s": round(statistics.median(whole))},
                more_is_better=True,
            )
        )
    return results


def _a_fleet(size: int) -> Fleet:
    fleet, capacity = Fleet(), Resources(vcpus=HOST_VCPUS, memory_mib=HOST_MIB)
    for number in range(size):
        shapes = [SHAPES[(number + guest) % len(SHAPES)] for guest in range(GUESTS)]
        taken = Resources(vcpus=sum(one for one, _ in shapes), memory_mib=sum(mib for _, mib in shapes))
        host_id = HostId(UUID(int=number))
        host = Host(
            host_id=host_id, name=f"host-{number}", capacity=capacity, allocated=taken, vms=len(shapes)
        )
        fleet.put(host, Seq(1))
    return fleet


VMS = [
    Vm(
        vm_id=VmId(UUID(int=index)),
        spec=VmSpec(name=f"vm-{index}", vcpus=vcpus, memory_mib=memory_mib, image="tiny"),
        desired=Desired.STOPPED,
    )
    for index, (vcpus, memory_mib) in enumerate(SHAPES)
]


def _rate(place: Callable[[int], None]) -> float:
    """Place VM after VM for RUN_S."""
    number, began = 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < RUN_S:
        place(number)
        number += 1
    return number / spent


def _choose(fleet: Fleet, number: int) -> None:
    """Ask every filter and weight of the default policy, take the room on the best host, and give it back."""
    spec = VMS[number % len(VMS)].spec
    needs = spec.needs
    found = candidates(fleet, Request(spec=spec, needs=needs), np.ones(len(fleet), np.bool_))
    row = best(fleet, found.fits, needs, Policy.BALANCED)
    assert row is not None
    _taken_and_given_back(fleet, fleet[row].host)


def _decide(fleet: Fleet, number: int) -> None:
    """Decide a start, with all events and the explanation."""
    vm = VMS[number % len(VMS)]
    scene = Scene(
        vm_id=vm.vm_id,
        vm=Known(vm, Seq(1)),
        fact=None,
        fleet=fleet,
        groups=Groups(fleet),
        alive=np.ones(len(fleet), np.bool_),
        readable=None,
        name_owner=Known(),
    )
    _, reserved, _ = decide(CommandId(UUID(int=number)), StartVm(vm_id=vm.vm_id), scene).changes
    assert isinstance(reserved.event, HostReserved)
    _taken_and_given_back(fleet, reserved.event.host)


def _taken_and_given_back(fleet: Fleet, host: Host) -> None:
    """Change the fleet as the scheduler does, so that nothing can be kept from one decision to the next."""
    before = fleet.get(host.host_id)
    assert before is not None
    fleet.put(host, Seq(1))
    fleet.put(before.host, Seq(1))
