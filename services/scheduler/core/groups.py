"""Which hosts have VMs of which group: an array a group, a column a host, in the order of the fleet."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from events.ids import HostId, VmId
from events.vm import Vm
from events.wishes import GroupWish, Rule
from services.scheduler.core.fleet import Fleet, Numbers

ARRAYS_MAX = 256
"""Groups whose arrays are kept (120 KiB each with ten thousand hosts); then they are made anew."""


class _Member(NamedTuple):
    """A VM of a group that is placed, and what it was placed by."""

    host_id: HostId
    wish: GroupWish


@dataclass(frozen=True)
class Others:
    """The placed VMs of a group beside the one that is to be placed. Arrays: how many are on each host."""

    wish: GroupWish
    """Of the one that is to be placed."""
    total: int
    here: Numbers
    alone: Numbers
    """Those that were promised a host without any other."""
    tied: Numbers
    """Those that were promised one host for all."""


class Groups:
    """Mutable, owned by one world, and made of nothing but its VMs that are placed, as they were placed."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._members: dict[str, dict[VmId, _Member]] = {}
        self._arrays: dict[str, Numbers] = {}
        """Of shape (3, hosts): the rows are what `Others` calls here, alone and tied."""

    def follow(self, before: Vm | None, after: Vm | None) -> None:
        """Take in that a VM is not what it was: where it was a member, and where it is."""
        was, is_ = _places(before), _places(after)
        if was == is_:
            return
        for vm_id, member in was:
            members = self._members[member.wish.name]
            del members[vm_id]
            self._count(member, -1)
            if not members:
                del self._members[member.wish.name]
                self._arrays.pop(member.wish.name, None)
        for vm_id, member in is_:
            self._members.setdefault(member.wish.name, {})[vm_id] = member
            self._count(member, 1)

    def others(self, vm_id: VmId, wish: GroupWish) -> Others | None:
        """Give who is placed of the group that *wish* names, but for *vm_id* itself; None: nobody."""
        members = self._members.get(wish.name)
        if members is None:
            return None
        own, counts = members.get(vm_id), self._array(wish.name, members)
        if own is not None:
            counts = counts.copy()
            _add(counts, self._fleet.row(own.host_id), own, -1)
        total = len(members) - (own is not None)
        return Others(wish, total, *counts) if total else None

    def _count(self, member: _Member, more: int) -> None:
        counts = self._arrays.get(member.wish.name)
        if counts is not None and counts.shape[1] == len(self._fleet):
            _add(counts, self._fleet.row(member.host_id), member, more)

    def _array(self, name: str, members: dict[VmId, _Member]) -> Numbers:
        counts = self._arrays.get(name)
        # Hosts only ever join: a fleet of as many is the same one, in the same order.
        if counts is None or counts.shape[1] != len(self._fleet):
            if len(self._arrays) >= ARRAYS_MAX:
                self._arrays.clear()
            counts = self._arrays[name] = np.zeros((3, len(self._fleet)), np.int32)
            for member in members.values():
                _add(counts, self._fleet.row(member.host_id), member, 1)
        return counts


def _places(vm: Vm | None) -> tuple[tuple[VmId, _Member], ...]:
    """Say of which groups *vm* is a placed member: by what it runs as, for that is what it was placed by."""
    if vm is None or vm.placement is None:
        return ()
    wishes = (vm.running or vm.spec).placement.groups
    return tuple((vm.vm_id, _Member(vm.placement.host_id, wish)) for wish in wishes)


def _add(counts: Numbers, row: int | None, member: _Member, more: int) -> None:
    if row is None:
        return  # Its host cannot be read: the member counts in the total, and is nowhere that can be chosen.
    counts[0, row] += more
    if member.wish.hard:
        counts[1 if member.wish.rule is Rule.APART else 2, row] += more
