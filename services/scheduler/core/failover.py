"""Keep room elsewhere for the protected VMs of any hosts that fail: N+k admission.

Each protected VM has *fallback hosts*, as many as failures are tolerated, all different: one of them is left,
whichever hosts fail with its own. What is kept free on a host is the sum of the largest loads that so many
others would bring. With one failure that is exact: the VMs of a host have fallbacks if, and only if, they
pack onto the others. With more it is on the safe side.

A silent host counts as one that is there: it is one of the failures that are tolerated.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum

import numpy as np

from events.ids import HostId, VmId
from events.spec import VmSpec
from events.values import Resources
from events.vm import Vm, reserved_by
from events.wishes import Rule
from services.scheduler.core.fallback import Item, Room, fallbacks, takes
from services.scheduler.core.filters import lasting
from services.scheduler.core.fleet import Fleet, Mask
from services.scheduler.core.groups import Groups, Others
from services.scheduler.core.loads import Loads, Plan
from services.scheduler.core.request import Request
from services.scheduler.core.wishes import all_of

AGAIN_MAX = 8
"""Hosts without fallbacks that are looked at again at once, when room has come; the others follow later."""


class Admission(StrEnum):
    """What becomes of a start that would use up what is kept for others."""

    REFUSE = "refuse"
    WARN = "warn"
    """It goes on, and the placement names a host whose failure could not be borne any more."""


class Failover:
    """Mutable, owned by one world. Plans are made when they are asked for; any that holds is as good."""

    def __init__(self, fleet: Fleet, groups: Groups, tolerates: int, admission: Admission) -> None:
        assert tolerates > 0, "nothing is kept for no failure"
        self.tolerates = tolerates
        self.admission = admission
        self._fleet = fleet
        self._groups = groups
        self._vms: dict[HostId, dict[VmId, Vm]] = {}
        self._plans: dict[int, Plan] = {}
        self._loads: dict[int, Loads] = {}
        self._kept: Room = np.zeros((2, 0), np.int64)
        """What may have to go in at each host, should as many others fail as are tolerated."""
        self._kept_but_one: Room = self._kept
        """The same, should one less fail."""
        self._grouped: dict[str, Counter[HostId]] = {}
        """Of each group, how many protected VMs are where."""
        self._stale: set[HostId] = set()
        self._broken: set[HostId] = set()
        """Those whose failure cannot be borne."""
        self._again: set[HostId] = set()
        """Those of them for which room may have come."""
        self._seen = self._kept
        """The room that there was when that was last looked at."""

    def follow(self, before: Vm | None, after: Vm | None) -> None:
        """Take in that a VM is not what it was."""
        was, is_ = _protected_on(before), _protected_on(after)
        if after is not None and after.placement is not None and _moved(before, after):
            self._stale |= self._peers(after.running or after.spec)
        if was == is_ and _as(before) == _as(after):
            return
        if was is not None and before is not None:
            del self._vms[was][before.vm_id]
            self._stale.add(was)
            self._count(before, was, -1)
        if is_ is not None and after is not None:
            self._vms.setdefault(is_, {})[after.vm_id] = after
            self._stale.add(is_)
            self._count(after, is_, 1)

    def forget(self) -> None:
        """Note that hosts are not what they were."""
        self._stale |= self._vms.keys()

    @property
    def unready(self) -> bool:
        """Whether there is a host whose VMs have to be looked at."""
        return bool(self._stale or self._again) or self._kept.shape[1] != len(self._fleet)

    @property
    def broken(self) -> frozenset[HostId]:
        """The hosts whose failure could not be borne, when last looked at."""
        return frozenset(self._broken)

    def settle(self, most: int) -> None:
        """Plan anew up to *most* hosts for which that is due, and look again at some that had no plan.

        Those are many only where much is amiss, and nothing is safer for it if their turn comes later.
        """
        if self._kept.shape[1] != len(self._fleet):
            self._kept, self._kept_but_one = (np.zeros((2, len(self._fleet)), np.int64) for _ in range(2))
            self._plans.clear()
            self._loads.clear()
            self._stale |= self._vms.keys()
        room = _room(self._fleet)
        if self._seen.shape != room.shape or (room > self._seen).any():
            self._again |= self._broken
        self._seen = room
        for row in np.flatnonzero((self._kept > room).any(axis=0)).tolist():
            self._stale |= {self._fleet[host].host.host_id for host in _hosts(self._loads.get(row))}
        for host_id in sorted(self._stale)[:most]:
            self._stale.discard(host_id)
            self._plan(host_id, room)
        for host_id in sorted(self._again)[:AGAIN_MAX]:
            self._plan(host_id, room)

    def breach(self, fleet: Fleet, row: int, request: Request) -> int | None:
        """Name the row whose failure can no longer be borne once *row* has taken a VM; None: all still can.

        *fleet* is ours, or as ours will be.
        """
        room = _room(fleet)
        room[:, row] -= (request.needs.vcpus, request.needs.memory_mib)
        if request.spec.highly_available and not self._shelters(row, room, request):
            return row
        # Whoever must not meet it there any more goes elsewhere.
        rows = (self._fleet.row(host_id) for host_id in sorted(self._peers(request.spec)))
        for host in (host for host in rows if host is not None and row in self._plans.get(host, {})):
            if not self._replan(host, room, (row, request.spec)):
                return host
        for host in _hosts(self._loads.get(row)):
            if (self._kept[:, row] <= room[:, row]).all():
                break
            plan = self._drop(host)
            left = room[:, row] - self._kept_but_one[:, row] - plan[row]
            self._adopt(host, plan)
            if (left < 0).any() and not self._replan(host, room):
                return host
        return None if (self._kept[:, row] <= room[:, row]).all() else row

    def easy(self, fleet: Fleet, needs: Resources) -> Mask:
        """Say which hosts can take a VM with no plan changed for it."""
        after = _room(fleet) - np.array([[needs.vcpus], [needs.memory_mib]])
        found: Mask = (after >= self._kept).all(axis=0)
        return found

    def _shelters(self, row: int, room: Room, request: Request) -> bool:
        """Say whether one more VM in *row* would have fallback hosts, beside those that it has."""
        host_id, plan = self._fleet[row].host.host_id, self._plans.get(row, {})
        if host_id in self._broken:
            return False
        if not request.spec.placement.groups:
            takers = takes(self._item([request], row), self._room_for(row, room, plan))
            if np.count_nonzero(takers) >= self.tolerates:
                return True
        self._drop(row)
        here = [self._request(vm) for vm in self._vms.get(host_id, {}).values()]
        items = self._items([*here, request], row)
        found = fallbacks(items, self._room_for(row, room, {}), self.tolerates)
        self._adopt(row, plan)
        return found is not None

    def _peers(self, spec: VmSpec) -> set[HostId]:
        """Name the hosts with protected VMs of a group of *spec*."""
        return {host for wish in spec.placement.groups for host in self._grouped.get(wish.name, ())}

    def _count(self, vm: Vm, host_id: HostId, more: int) -> None:
        for wish in (vm.running or vm.spec).placement.groups:
            counts = self._grouped.setdefault(wish.name, Counter())
            counts[host_id] += more
            if not counts[host_id]:
                del counts[host_id]
            if not counts:
                del self._grouped[wish.name]

    def _plan(self, host_id: HostId, room: Room) -> None:
        row = self._fleet.row(host_id)
        if row is None:
            return  # It is not known: neither is what it has.
        self._again.discard(host_id)
        self._broken.discard(host_id)
        if not self._replan(row, room):
            self._drop(row)
            self._broken.add(host_id)

    def _replan(self, row: int, room: Room, newcomer: tuple[int, VmSpec] | None = None) -> bool:
        """Find fallbacks for what the host in *row* has now; False, and all as it was: there are none.

        Nobody who must be apart from a *newcomer* goes to its row.
        """
        before = self._drop(row)
        requests = [self._request(vm) for vm in self._vms.get(self._fleet[row].host.host_id, {}).values()]
        items = self._items(requests, row, newcomer)
        found = fallbacks(items, self._room_for(row, room, {}), self.tolerates)
        if found is None:
            self._adopt(row, before)
            return False
        plan: Plan = {}
        for item, rows in zip(items, found, strict=True):
            for target in rows:
                vcpus, memory = plan.get(target, (0, 0))
                plan[target] = vcpus + item.vcpus, memory + item.memory_mib
        self._adopt(row, plan)
        return True

    def _items(
        self, requests: Sequence[Request], row: int, newcomer: tuple[int, VmSpec] | None = None
    ) -> list[Item]:
        """Say what would have to go from the host in *row*: VMs that are bound to be together as one."""
        bundles: list[list[Request]] = []
        for one in requests:
            bound = [
                bundle
                for bundle in bundles
                if any(_rules(one.spec, other.spec, Rule.TOGETHER) for other in bundle)
            ]
            bundles = [bundle for bundle in bundles if bundle not in bound]
            bundles.append([one, *(other for bundle in bound for other in bundle)])
        return [self._item(bundle, row, newcomer) for bundle in bundles]

    def _item(self, bundle: Sequence[Request], row: int, newcomer: tuple[int, VmSpec] | None = None) -> Item:
        """Say what *bundle* is to the hosts that would take it over from the one in *row*."""
        masks: list[Mask | None] = []
        for one in bundle:
            others = [others for others in one.others if not _leave_with(others, row)]
            masks.append(lasting(self._fleet, replace(one, others=others)))
            if newcomer is not None and _rules(one.spec, newcomer[1], Rule.APART):
                masks.append(np.arange(len(self._fleet)) != newcomer[0])
        return Item(
            sum(one.needs.vcpus for one in bundle),
            sum(one.needs.memory_mib for one in bundle),
            all_of(mask for mask in masks if mask is not None),
        )

    def _request(self, vm: Vm) -> Request:
        spec = vm.running or vm.spec
        found = (self._groups.others(vm.vm_id, wish) for wish in spec.placement.groups)
        return Request(
            spec=spec,
            needs=reserved_by(vm),
            made_disks=frozenset(vm.made_disks),
            others=[others for others in found if others is not None],
        )

    def _room_for(self, row: int, room: Room, plan: Plan) -> Room:
        """Give what the VMs of one host may use elsewhere, beside what *plan* and other failures take."""
        left: Room = room - self._kept_but_one
        for target, load in plan.items():
            left[:, target] -= load
        left[:, row] = -1
        return left

    def _adopt(self, row: int, plan: Plan) -> None:
        self._plans[row] = plan
        for target, load in plan.items():
            self._loads.setdefault(target, Loads()).put(row, load)
            self._sum(target)

    def _drop(self, row: int) -> Plan:
        plan = self._plans.pop(row, {})
        for target in plan:
            self._loads[target].drop(row)
            self._sum(target)
        return plan

    def _sum(self, target: int) -> None:
        loads = self._loads[target]
        self._kept[:, target] = loads.largest(self.tolerates)
        self._kept_but_one[:, target] = loads.largest(self.tolerates - 1)


def _protected_on(vm: Vm | None) -> HostId | None:
    """Name the host of a VM that is to run again elsewhere; None: it is not, or runs nowhere."""
    if vm is None or vm.placement is None or not (vm.running or vm.spec).highly_available:
        return None
    return vm.placement.host_id


def _as(vm: Vm | None) -> object:
    return None if vm is None else (vm.running or vm.spec, reserved_by(vm), vm.made_disks)


def _moved(before: Vm | None, after: Vm) -> bool:
    return before is None or before.placement != after.placement


def _rules(one: VmSpec, other: VmSpec, rule: Rule) -> bool:
    """Tell whether two VMs are bound by *rule*, whichever of them wishes it."""
    mine, others = ({wish.name: wish for wish in spec.placement.groups} for spec in (one, other))
    wishes = (wish for name in mine.keys() & others.keys() for wish in (mine[name], others[name]))
    return any(wish.hard and wish.rule is rule for wish in wishes)


def _room(fleet: Fleet) -> Room:
    return np.stack((fleet.free_vcpus, fleet.free_memory)).astype(np.int64)


def _leave_with(others: Others, row: int) -> bool:
    """Tell whether all others of a group would be gone with the host in *row*."""
    return int(others.here[row]) == others.total


def _hosts(loads: Loads | None) -> list[int]:
    return sorted(loads.of) if loads is not None else []
