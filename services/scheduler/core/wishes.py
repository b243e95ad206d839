"""What is wished of a place: which hosts the hard wishes leave, and which come nearest to the soft ones."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce

import numpy as np

from events.ids import HostId
from events.wishes import Rule, carries
from services.scheduler.core.fleet import Fleet, HostView, Mask, Numbers
from services.scheduler.core.groups import Others
from services.scheduler.core.request import Request

Says = tuple[str, str]
"""What is needed, and what is there."""


def pinned(fleet: Fleet, request: Request) -> Mask | None:
    """Leave the hosts that the VM is pinned to."""
    hosts = request.spec.placement.hosts
    return fleet.mask(hosts) if hosts else None


def says_pinned(fleet: Fleet, row: int, request: Request) -> Says:
    """Name the hosts that it may be on."""
    names = sorted(_name(fleet, host_id) for host_id in request.spec.placement.hosts)
    return "one of " + ", ".join(names), fleet[row].host.name


def label(fleet: Fleet, request: Request) -> Mask | None:
    """Leave the hosts that carry every label that is required, and none that is forbidden."""
    wishes = request.spec.placement
    if not (wishes.require_labels or wishes.forbid_labels):
        return None  # Most wish nothing, and a filter that is asked for nothing costs nothing.
    required = (fleet.column("label", name, _carries(name)) for name in wishes.require_labels)
    allowed = (~fleet.column("label", name, _carries(name)) for name in wishes.forbid_labels)
    return all_of((*required, *allowed))


def says_label(fleet: Fleet, row: int, request: Request) -> Says:
    """Name what is wished, and what it carries."""
    wishes = request.spec.placement
    wanted = (*wishes.require_labels, *(f"not {name}" for name in wishes.forbid_labels))
    return ", ".join(wanted), ", ".join(_labels(fleet[row])) or "no labels"


def apart(_: Fleet, request: Request) -> Mask | None:
    """Leave hosts without others of its groups: any, or those that were promised to be alone."""
    return all_of(passes for _, passes in _apart(request)) if request.others else None


def says_apart(_: Fleet, row: int, request: Request) -> Says:
    """Name the group, and count who is there."""
    others = next(others for others, passes in _apart(request) if not passes[row])
    return f"no other VM of group {others.wish.name}", f"{_vms(others.here[row])} of it"


def together(_: Fleet, request: Request) -> Mask | None:
    """Leave the one host that has all others of its groups, where one of them or the VM itself is tied so."""
    return all_of(passes for _, passes in _together(request)) if request.others else None


def says_together(_: Fleet, row: int, request: Request) -> Says:
    """Name the group, and count who is there and elsewhere."""
    others = next(others for others, passes in _together(request) if not passes[row])
    here = int(others.here[row])
    return (
        f"every other VM of group {others.wish.name}",
        f"{_vms(here)} of it, and {others.total - here} elsewhere",
    )


def nearest(fleet: Fleet, fits: Mask, request: Request) -> Mask:
    """Leave of the hosts that fit those that come nearest to the soft wishes; hosts preferred come first.

    What no policy can outweigh needs no factor: it is looked at before.
    """
    wishes, soft = request.spec.placement, [one for one in request.others if not one.wish.hard]
    if wishes.prefer_hosts:
        preferred = fits & fleet.mask(wishes.prefer_hosts)
        fits = preferred if preferred.any() else fits
    if soft and fits.any():
        # Of soft members each counts as one: here where they would be apart, elsewhere where together.
        amiss: Numbers = sum((_amiss(one) for one in soft), np.zeros(len(fleet), np.int32))
        fits = fits & (amiss == amiss[fits].min())
    return fits


def all_of(masks: Iterable[Mask]) -> Mask | None:
    """Leave what each of *masks* leaves; None where there are none."""
    found: Iterator[Mask] = iter(masks)
    first = next(found, None)
    return reduce(np.logical_and, found, first) if first is not None else None


def _apart(request: Request) -> Iterator[tuple[Others, Mask]]:
    for others in request.others:
        if others.wish.hard and others.wish.rule is Rule.APART:
            yield others, others.here == 0
        elif others.alone.any():
            yield others, others.alone == 0


def _together(request: Request) -> Iterator[tuple[Others, Mask]]:
    for others in request.others:
        if (others.wish.hard and others.wish.rule is Rule.TOGETHER) or others.tied.any():
            yield others, others.here == others.total


def _amiss(others: Others) -> Numbers:
    return others.here if others.wish.rule is Rule.APART else others.total - others.here


def _vms(count: int) -> str:
    return f"{count} VM{'' if count == 1 else 's'}"


def _name(fleet: Fleet, host_id: HostId) -> str:
    view = fleet.get(host_id)
    return view.host.name if view is not None else f"host_{host_id}"


def _carries(name: str) -> Callable[[HostView], bool]:
    return lambda view: carries(_labels(view), name)


def _labels(view: HostView) -> Sequence[str]:
    """Give what a host is called; one whose daemon has not said so carries nothing."""
    machine = view.report.machine if view.report is not None else None
    return machine.labels if machine is not None else ()
