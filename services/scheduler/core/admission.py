"""Choose a host whose start leaves every failure as bearable as it was, and say why others are refused."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from services.scheduler.core.failover import Failover
from services.scheduler.core.filters import Filter
from services.scheduler.core.fleet import Fleet, Mask
from services.scheduler.core.request import Request
from services.scheduler.core.wishes import Says

HOSTS_TRIED_MAX = 16
"""Hosts on which a start is tried before it is said to break what is kept; the best ones first."""


@dataclass(frozen=True)
class Chosen:
    """The host that was found, and those where a start would leave VMs without a place to go."""

    row: int | None
    breaks: Mapping[int, int]
    """Row to row: whose failure could no longer be borne if that host took the VM."""


def choose(
    failover: Failover,
    fleet: Fleet,
    wanted: Sequence[Mask],
    rank: Callable[[Mask], int | None],
    request: Request,
) -> Chosen:
    """Find the best host where a start leaves every host's failure as bearable as it was.

    The best is what *rank* says, of those that are *wanted* first, if any of them will do. Hosts on which
    nothing is kept for others come before those where that first has to move.
    """
    failover.settle(len(fleet))
    easy, breaks = failover.easy(fleet, request.needs), dict[int, int]()
    for left in (fits & mask for fits in wanted for mask in (easy, ~easy)):
        left[list(breaks)] = False
        while len(breaks) < HOSTS_TRIED_MAX and (row := rank(left)) is not None:
            broken = failover.breach(fleet, row, request)
            if broken is None:
                return Chosen(row, breaks)
            breaks[row] = broken
            left[row] = False
    return Chosen(None, breaks)


def refusing(fleet: Fleet, chosen: Chosen, fits: Mask) -> tuple[Filter, Mask]:
    """Give what was found as the last filter: who was refused, and why."""
    passes = np.ones(len(fleet), np.bool_)
    passes[list(chosen.breaks)] = False
    if chosen.row is None:
        passes &= ~fits  # More than are tried at all: they are refused with the others.

    def says(fleet: Fleet, row: int, _: Request) -> Says:
        if row not in chosen.breaks:
            return "a look at it", f"none after {HOSTS_TRIED_MAX} others in vain"
        failing = fleet[chosen.breaks[row]].host.name
        return f"room elsewhere for the highly available VMs of {failing}, should it fail", "not enough"

    return Filter("failover", lambda *_: passes, says), passes
