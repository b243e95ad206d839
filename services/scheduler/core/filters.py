"""Say which hosts can take a VM, and of each other one what it lacks, with the numbers."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from events.events import Refusal
from events.ids import HostId
from events.machine import Storage
from events.spec import VmSpec
from events.values import Resources
from services.scheduler.core.fleet import Fleet, HostView, Mask


@dataclass(frozen=True)
class Request:
    """What is to be placed."""

    spec: VmSpec
    needs: Resources
    only: HostId | None = None
    """The one host that may be chosen."""
    made_disks: frozenset[str] = frozenset()
    """Disks that are there already: their storage is not asked for room."""
    tried: frozenset[HostId] = frozenset()
    """Hosts that have failed to start it in this operation."""

    @property
    def networks(self) -> Sequence[str]:
        """The bridges that it needs."""
        return sorted({nic.network for nic in self.spec.nics})

    @property
    def storages(self) -> Sequence[str]:
        """The storages in which disks of it are to be made."""
        return sorted({disk.storage for disk in self.spec.disks if disk.name not in self.made_disks})


@dataclass(frozen=True)
class Filter:
    """One reason to refuse: *passes* for all hosts at once, *says* what one that it refuses has instead."""

    code: str
    passes: Callable[[Fleet, Request], Mask | None]
    """None: it refuses nobody."""
    says: Callable[[HostView, Request], tuple[str, str]]
    """What is needed, and what is there."""


def _network(fleet: Fleet, request: Request) -> Mask | None:
    return _all(fleet.column("network", name, _has_network(name)) for name in request.networks)


def _has_network(name: str) -> Callable[[HostView], bool]:
    return lambda view: name in (networks := _networks(view)) or not networks


def _networks(view: HostView) -> Sequence[str]:
    """Give the bridges of a host; none where it has not said: its daemon will say what is missing."""
    machine = view.report.machine if view.report is not None else None
    return machine.networks if machine is not None else ()


def _storage(fleet: Fleet, request: Request) -> Mask | None:
    return _all(fleet.column("storage", name, _has_storage(name)) for name in request.storages)


def _has_storage(name: str) -> Callable[[HostView], bool]:
    return lambda view: not _storages(view) or name in _writable(view)


def _storages(view: HostView) -> Sequence[Storage]:
    """Give the storages of a host; none where it has not said."""
    machine = view.report.machine if view.report is not None else None
    return machine.storages if machine is not None else ()


def _writable(view: HostView) -> Sequence[str]:
    return [one.name for one in _storages(view) if one.writable and one.problem is None]


def _tried(fleet: Fleet, request: Request) -> Mask | None:
    return ~fleet.mask(request.tried) if request.tried else None


FILTERS: Sequence[Filter] = (
    Filter(
        "tried",
        _tried,
        lambda _, __: ("a host that has not failed to start it now", "it has failed to"),
    ),
    Filter(
        "network",
        _network,
        lambda view, request: (_list(request.networks), _list(_networks(view))),
    ),
    Filter(
        "storage",
        _storage,
        lambda view, request: (_list(request.storages), f"writable: {_list(_writable(view))}"),
    ),
    Filter(
        "memory",
        lambda fleet, request: fleet.free_memory >= request.needs.memory_mib,
        lambda view, request: (
            f"{request.needs.memory_mib} MiB",
            f"{view.host.free.memory_mib} MiB free of {view.host.capacity.memory_mib}",
        ),
    ),
    Filter(
        "vcpus",
        lambda fleet, request: fleet.free_vcpus >= request.needs.vcpus,
        lambda view, request: (
            f"{request.needs.vcpus} vCPUs",
            f"{view.host.free.vcpus} vCPUs free of {view.host.capacity.vcpus}",
        ),
    ),
)
"""In the order in which they are asked: a host is refused by the first that it does not pass."""

LIVENESS = Filter("liveness", lambda _, __: None, lambda _, __: ("a heartbeat", "none heard lately"))
"""Before all others; who is heard is no part of the fleet, but of the moment."""


@dataclass(frozen=True)
class Candidates:
    """What the filters have left, and how each other host was refused."""

    request: Request
    fits: Mask
    passed: Sequence[tuple[Filter, Mask]]
    """Each filter that refused somebody who had passed those before it."""
    considered: Mask

    @property
    def _anybody_refused(self) -> bool:
        return not np.array_equal(self.fits, self.considered)

    @property
    def refused(self) -> Counter[str]:
        """Count the hosts that each filter has refused."""
        counts: Counter[str] = Counter()
        if not self._anybody_refused:
            return counts
        left = self.considered
        for filter_, passes in self.passed:
            counts[filter_.code] = int(np.count_nonzero(left & ~passes))
            left = left & passes
        return +counts

    def refusals(self, fleet: Fleet, most: int) -> tuple[Refusal, ...]:
        """Say for up to *most* refused hosts, by name, what each lacks."""
        if not self._anybody_refused:
            return ()
        rows: list[int] = np.flatnonzero(self.considered & ~self.fits).tolist()
        ordered = sorted((fleet[row].host.name, fleet[row].host.host_id, row) for row in rows)
        return tuple(self._refusal(fleet[row], row) for _, _, row in ordered[:most])

    def _refusal(self, view: HostView, row: int) -> Refusal:
        filter_ = next(one for one, passes in self.passed if not passes[row])
        needs, has = filter_.says(view, self.request)
        return Refusal(host=view.host.name, filter=filter_.code, needs=needs, has=has)


def candidates(fleet: Fleet, request: Request, alive: Mask, readable: Mask | None = None) -> Candidates:
    """Ask every filter. A host whose last word cannot be read is not considered at all."""
    considered = fleet.everybody if request.only is None else fleet.mask([request.only])
    if readable is not None:
        considered = considered & readable
    fits, passed = considered & alive, [(LIVENESS, alive)]
    for filter_ in FILTERS:
        passes = filter_.passes(fleet, request)
        if passes is not None:
            fits &= passes
            passed.append((filter_, passes))
    return Candidates(request, fits, passed, considered)


def _all(masks: Iterable[Mask]) -> Mask | None:
    found: Iterator[Mask] = iter(masks)
    first = next(found, None)
    return reduce(np.logical_and, found, first) if first is not None else None


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
