"""The hosts as placement sees them: an array a property, a row a host, in order of their ids."""

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from events.facts import HostReported
from events.host import Host
from events.ids import BEGINNING, HostId, Seq
from services.scheduler.core.packing import Free
from services.scheduler.core.ranks import Ranks

Mask = NDArray[np.bool_]
Numbers = NDArray[np.int32]
Shares = NDArray[np.float32]
"""Half the width of what Python counts in: with ten thousand hosts an array stays near the processor."""
ARRAYS = ("free_vcpus", "free_memory", "guests", "per_vcpu", "per_mib", "used_vcpus", "used_memory")


COLUMNS_MAX = 1000
"""Columns that are kept; then they are made anew as they are asked for."""


@dataclass(frozen=True)
class HostView:
    """A host as a decision reads it."""

    host: Host
    seq: Seq
    report: HostReported | None = None
    """What it said last of itself; None: nothing that can be read."""


class Fleet:
    """Mutable, owned by one world. Arrays are of shape (hosts,); whoever reads them changes none.

    Columns of what hosts have said are kept until one says something else: few of them change, and rarely.
    """

    def __init__(self) -> None:
        self._views: list[HostView] = []
        self._ids: list[HostId] = []
        self._columns: dict[tuple[str, str], Mask] = {}
        self._by_name: Numbers | None = None
        self.ranks = Ranks()
        """What the VMs that are placed, and the room that is left, say of each host's worth."""
        self.free_vcpus: Numbers = np.zeros(0, np.int32)
        """Below zero where a capacity shrank under what is reserved."""
        self.free_memory: Numbers = np.zeros(0, np.int32)
        self.guests: Numbers = np.zeros(0, np.int32)
        self.per_vcpu: Shares = np.zeros(0, np.float32)
        """The share of a host's capacity that one vCPU, or one MiB, is."""
        self.per_mib: Shares = np.zeros(0, np.float32)
        self.used_vcpus: Shares = np.zeros(0, np.float32)
        """The share of a host's capacity that is promised."""
        self.used_memory: Shares = np.zeros(0, np.float32)

    def __len__(self) -> int:
        return len(self._views)

    def __iter__(self) -> Iterator[HostView]:
        return iter(self._views)

    def __contains__(self, host_id: HostId) -> bool:
        return self.row(host_id) is not None

    def __getitem__(self, row: int) -> HostView:
        return self._views[row]

    def row(self, host_id: HostId) -> int | None:
        """Give the row of a host that is known."""
        row = bisect_left(self._ids, host_id)
        return row if row < len(self._ids) and self._ids[row] == host_id else None

    def get(self, host_id: HostId) -> HostView | None:
        """Give a host that is known."""
        row = self.row(host_id)
        return self._views[row] if row is not None else None

    def put(self, host: Host, seq: Seq) -> None:
        """Take in the control plane's last word on a host."""
        row = self.row(host.host_id)
        if row is None:
            row = self._insert(host)
        if self._views[row].host.name != host.name:
            self._by_name = None
        if self._views[row].host.capacity != host.capacity:
            self.ranks.forget()
        self._views[row] = replace(self._views[row], host=host, seq=seq)
        self.ranks.changed(row)
        self.per_vcpu[row] = 1 / max(1, host.capacity.vcpus)
        self.per_mib[row] = 1 / max(1, host.capacity.memory_mib)
        self.used_vcpus[row] = host.allocated.vcpus / max(1, host.capacity.vcpus)
        self.used_memory[row] = host.allocated.memory_mib / max(1, host.capacity.memory_mib)
        self.free_vcpus[row] = host.capacity.vcpus - host.allocated.vcpus
        self.free_memory[row] = host.capacity.memory_mib - host.allocated.memory_mib
        self.guests[row] = host.vms

    def report(self, report: HostReported) -> None:
        """Take in what a host that is known says of itself."""
        row = self.row(report.host_id)
        if row is not None and self._views[row].report != report:
            self._views[row] = replace(self._views[row], report=report)
            self._columns.clear()

    def column(self, kind: str, name: str, holds: Callable[[HostView], bool]) -> Mask:
        """Give for each host whether *holds*, which reads nothing but the host's report, and is kept."""
        found = self._columns.get((kind, name))
        if found is None:
            if len(self._columns) >= COLUMNS_MAX:
                self._columns.clear()  # Names come from users, and nothing ends them.
            found = np.fromiter((holds(view) for view in self._views), np.bool_, len(self._views))
            self._columns[kind, name] = found
        return found

    @property
    def by_name(self) -> Numbers:
        """Give all rows in order of the hosts' names, as people look for them."""
        if self._by_name is None:
            rows = range(len(self._views))
            ordered = sorted(rows, key=lambda row: (self._views[row].host.name, self._ids[row]))
            self._by_name = np.array(ordered, np.int32)
        return self._by_name

    @property
    def everybody(self) -> Mask:
        """Give a yes for each host."""
        return self.column("", "", lambda _: True)

    def mask(self, host_ids: Collection[HostId]) -> Mask:
        """Give for each host whether it is among *host_ids*."""
        found = np.zeros(len(self._views), np.bool_)
        for host_id in host_ids:
            row = self.row(host_id)
            if row is not None:
                found[row] = True
        return found

    @property
    def free(self) -> Free:
        """Give the room that is left."""
        return Free(self.free_vcpus, self.free_memory)

    def capacity(self) -> Free:
        """Give the room that an empty host has."""
        return Free(np.reciprocal(self.per_vcpu), np.reciprocal(self.per_mib))

    def with_host(self, host: Host) -> "Fleet":
        """Give this fleet as it will be when *host* is stored; this one stays as it is."""
        after = Fleet()
        after._views, after._ids, after._columns = list(self._views), self._ids, self._columns
        after._by_name = self._by_name
        for name in ARRAYS:
            setattr(after, name, getattr(self, name).copy())
        after.ranks = Ranks(self.ranks.placed)
        row = self.row(host.host_id)
        assert row is not None, "only a host that is known changes"
        after.put(host, self._views[row].seq)
        return after

    def _insert(self, host: Host) -> int:
        row = bisect_left(self._ids, host.host_id)
        self._ids.insert(row, host.host_id)
        self._views.insert(row, HostView(host, BEGINNING))
        self._columns.clear()
        self._by_name = None
        self.ranks.forget()
        for name in ARRAYS:
            setattr(self, name, np.insert(getattr(self, name), row, 0))
        return row
