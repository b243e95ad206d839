"""Say which hosts can take a VM, and of each other one what it lacks, with the numbers."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from events.events import Refusal
from events.machine import Storage
from services.scheduler.core import wishes
from services.scheduler.core.fleet import Fleet, HostView, Mask
from services.scheduler.core.request import Request
from services.scheduler.core.wishes import Says, all_of


@dataclass(frozen=True)
class Filter:
    """One reason to refuse: *passes* for all hosts at once, *says* what one that it refuses has instead."""

    code: str
    passes: Callable[[Fleet, Request], Mask | None]
    """None: it refuses nobody."""
    says: Callable[[Fleet, int, Request], Says]
    """Of the host in one row: what is needed, and what is there."""


def _network(fleet: Fleet, request: Request) -> Mask | None:
    return all_of(fleet.column("network", name, _has_network(name)) for name in request.networks)


def _has_network(name: str) -> Callable[[HostView], bool]:
    return lambda view: name in (networks := _networks(view)) or not networks


def _networks(view: HostView) -> Sequence[str]:
    """Give the bridges of a host; none where it has not said: its daemon will say what is missing."""
    machine = view.report.machine if view.report is not None else None
    return machine.networks if machine is not None else ()


def _storage(fleet: Fleet, request: Request) -> Mask | None:
    return all_of(fleet.column("storage", name, _has_storage(name)) for name in request.storages)


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
        lambda *_: ("a host that has not failed to start it now", "it has failed to"),
    ),
    Filter("pinned", wishes.pinned, wishes.says_pinned),
    Filter("label", wishes.label, wishes.says_label),
    Filter("apart", wishes.apart, wishes.says_apart),
    Filter("together", wishes.together, wishes.says_together),
    Filter(
        "network",
        _network,
        lambda fleet, row, request: (_list(request.networks), _list(_networks(fleet[row]))),
    ),
    Filter(
        "storage",
        _storage,
        lambda fleet, row, request: (_list(request.storages), f"writable: {_list(_writable(fleet[row]))}"),
    ),
    Filter(
        "memory",
        lambda fleet, request: fleet.free_memory >= request.needs.memory_mib,
        lambda fleet, row, request: (
            f"{request.needs.memory_mib} MiB",
            f"{fleet[row].host.free.memory_mib} MiB free of {fleet[row].host.capacity.memory_mib}",
        ),
    ),
    Filter(
        "vcpus",
        lambda fleet, request: fleet.free_vcpus >= request.needs.vcpus,
        lambda fleet, row, request: (
            f"{request.needs.vcpus} vCPUs",
            f"{fleet[row].host.free.vcpus} vCPUs free of {fleet[row].host.capacity.vcpus}",
        ),
    ),
)
"""In the order in which they are asked: a host is refused by the first that it does not pass."""

LASTING = ("pinned", "label", "apart", "together", "network", "storage")
"""The filters that say where a VM may ever be; the others tell of the room, or of the attempts, of now."""

LIVENESS = Filter("liveness", lambda *_: None, lambda *_: ("a heartbeat", "none heard lately"))
"""Before all others; who is heard is no part of the fleet, but of the moment."""


@dataclass(frozen=True)
class Candidates:
    """What the filters have left, and how each other host was refused."""

    request: Request
    fits: Mask
    passed: Sequence[tuple[Filter, Mask]]
    """Each filter that refused somebody who had passed those before it."""
    considered: Mask

    def but(self, filter_: Filter, passes: Mask) -> "Candidates":
        """Give what one more filter leaves."""
        return replace(self, fits=self.fits & passes, passed=[*self.passed, (filter_, passes)])

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
        ordered = fleet.by_name
        refused = ordered[(self.considered & ~self.fits)[ordered]]
        return tuple(self._refusal(fleet, row) for row in refused[:most].tolist())

    def _refusal(self, fleet: Fleet, row: int) -> Refusal:
        filter_ = next(one for one, passes in self.passed if not passes[row])
        needs, has = filter_.says(fleet, row, self.request)
        return Refusal(host=fleet[row].host.name, filter=filter_.code, needs=needs, has=has)


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


def lasting(fleet: Fleet, request: Request) -> Mask | None:
    """Say where it may ever be, whatever the room and the attempts of now; None: anywhere."""
    masks = (filter_.passes(fleet, request) for filter_ in FILTERS if filter_.code in LASTING)
    return wishes.all_of(mask for mask in masks if mask is not None)


def lasting_facts(view: HostView | None) -> object:
    """Give all that `lasting` reads of a host's report."""
    machine = view.report.machine if view is not None and view.report is not None else None
    if view is None or machine is None:
        return None
    return machine.networks, machine.labels, bool(machine.storages), _writable(view)


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
