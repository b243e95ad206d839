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
from events.ids import CommandId, Generation, HostId, Seq, VmId
from events.spec import VmSpec
from events.values import Desired, Placement, Resources
from events.vm import Vm
from events.wishes import GroupWish, PlacementWishes, Rule
from services.scheduler.core.decide import decide
from services.scheduler.core.decision import Known, Scene
from services.scheduler.core.filters import candidates
from services.scheduler.core.fleet import Fleet
from services.scheduler.core.groups import Groups
from services.scheduler.core.packing import Shape
from services.scheduler.core.request import Request
from services.scheduler.core.weights import Policy, best
from services.scheduler.core.wishes import nearest
from tests.bench.result import Result, spread

SIZES = {100: None, 1000: 10_000.0, 10_000: 5_000.0, 100_000: None}
"""Hosts, and the rate aimed at."""
HOST_VCPUS, HOST_MIB, GUESTS = 256, 262_144, 10
SHAPES = [(1, 2048), (2, 4096), (2, 8192), (4, 8192), (4, 16384), (8, 16384), (8, 32768)]
RUNS, RUN_S = 3, 1.0
APART_SIZES, GROUPS = (1000, 10_000), 2 * GUESTS
"""Each host has a VM of every other group, so that half of the fleet is refused to any."""


def measure() -> Sequence[Result]:
    """Choose hosts on fleets of each size; the detail has `packed`, and the whole decision, with events."""
    results = []
    for size, aim in SIZES.items():
        fleet = _a_fleet(size)
        rates = [_rate(partial(_choose, fleet, Policy.BALANCED)) for _ in range(RUNS)]
        packed = [_rate(partial(_choose, fleet, Policy.PACKED)) for _ in range(RUNS)]
        whole = [_rate(partial(_decide, fleet)) for _ in range(RUNS)]
        results.append(
            Result(
                f"scheduler.core_per_s_{size}",
                round(statistics.median(rates)),
                "1/s",
                aim,
                {
                    **spread(rates),
                    "packed_per_s": round(statistics.median(packed)),
                    "whole_decisions_per_s": round(statistics.median(whole)),
                },
                more_is_better=True,
            )
        )
        if size in APART_SIZES:
            results.append(_apart(fleet, size))
    return results


def _apart(fleet: Fleet, size: int) -> Result:
    """The same with required anti-affinity; half of the plain rate is aimed at, measured in turns with it."""
    groups = Groups(fleet)
    for row, view in enumerate(fleet):
        for guest in range(GUESTS):
            groups.follow(None, _member(row * GUESTS + guest, (2 * guest + row) % GROUPS, view.host.host_id))
    pairs = [
        (_rate(partial(_choose, fleet, Policy.BALANCED)), _rate(partial(_choose_apart, fleet, groups)))
        for _ in range(RUNS)
    ]
    plain, rates = statistics.median(one for one, _ in pairs), [rate for _, rate in pairs]
    return Result(
        f"scheduler.core_antiaffinity_per_s_{size}",
        round(statistics.median(rates)),
        "1/s",
        round(plain / 2),
        {**spread(rates), "to_plain": round(statistics.median(rate / one for one, rate in pairs), 2)},
        more_is_better=True,
    )


def _member(number: int, group: int, host_id: HostId | None) -> Vm:
    apart = PlacementWishes(groups=(GroupWish(name=f"g{group}", rule=Rule.APART),))
    vm = VMS[number % len(VMS)]
    return vm.model_copy(
        update={
            "vm_id": VmId(UUID(int=number)),
            "spec": vm.spec.model_copy(update={"placement": apart}),
            "placement": None if host_id is None else Placement(host_id=host_id, generation=Generation(1)),
        }
    )


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
        for vcpus, memory_mib in shapes:
            fleet.ranks.count(Shape(vcpus, memory_mib), 1)
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


STRANGERS = [_member(2**60 + group, group, None) for group in range(GROUPS)]


def _choose(fleet: Fleet, policy: Policy, number: int) -> None:
    """Ask every filter and every weight of a policy, take the room on the best host, and give it back."""
    spec = VMS[number % len(VMS)].spec
    needs = spec.needs
    found = candidates(fleet, Request(spec=spec, needs=needs), np.ones(len(fleet), np.bool_))
    row = best(fleet, found.fits, needs, policy)
    assert row is not None
    _taken_and_given_back(fleet, fleet[row].host)


def _choose_apart(fleet: Fleet, groups: Groups, number: int) -> None:
    """The same for a member of a group, which is one of those on the host until it is given back."""
    vm = STRANGERS[number % len(STRANGERS)]
    (wish,), needs = vm.spec.placement.groups, vm.spec.needs
    others = groups.others(vm.vm_id, wish)
    request = Request(spec=vm.spec, needs=needs, others=[others] if others is not None else [])
    found = candidates(fleet, request, np.ones(len(fleet), np.bool_))
    row = best(fleet, nearest(fleet, found.fits, request), needs, Policy.BALANCED)
    assert row is not None
    host = fleet[row].host
    placed = vm.model_copy(update={"placement": Placement(host_id=host.host_id, generation=Generation(1))})
    groups.follow(vm, placed)
    _taken_and_given_back(fleet, host)
    groups.follow(placed, vm)


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
