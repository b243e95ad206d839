"""Pack the protected VMs of a host that might fail onto the others: is there room for them, and where."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.scheduler.core.fleet import Mask

Room = NDArray[np.int64]
"""Of shape (2, hosts): vCPUs and MiB that are free on each."""
NODES_MAX = 1_000
"""Trials of one VM on one host before a search gives up; what it has not found then is taken not to be."""


@dataclass(frozen=True)
class Item:
    """What goes to one host as a whole: a VM, or several that wish to be together."""

    vcpus: int
    memory_mib: int
    allowed: Mask | None = None
    """The hosts that hard wishes leave; None: any."""


def fallbacks(items: Sequence[Item], room: Room, each: int) -> list[tuple[int, ...]] | None:
    """Give each of *items* so many hosts, all different, that have *room* for it beside the others; or None.

    With one host each it is found if there is any, up to NODES_MAX. More of each are packed one after the
    other, the largest first: then None says that this did not come out, not that nothing would.
    """
    order = sorted(range(len(items)), key=lambda index: _size(items[index], room), reverse=True)
    ordered = [items[index] for index in order]
    found = _spread(ordered, room, each)
    if found is None and each == 1:
        found = _search(ordered, room)
    if found is None:
        return None
    return [rows for _, rows in sorted(zip(order, found, strict=True))]


def takes(item: Item, room: Room) -> Mask:
    """Say which hosts have *room* for *item*."""
    fits: Mask = (room[0] >= item.vcpus) & (room[1] >= item.memory_mib)
    return fits if item.allowed is None else fits & item.allowed


def _size(item: Item, room: Room) -> float:
    """Say how large it is to the largest room there is, in that of which it takes more."""
    most = room.max(axis=1, initial=1)
    return max(item.vcpus / max(1, int(most[0])), item.memory_mib / max(1, int(most[1])))


def _spread(items: Sequence[Item], room: Room, each: int) -> list[tuple[int, ...]] | None:
    """Give each to the hosts with most left, so that what is placed next seldom meets what is kept free."""
    left, found = room.copy(), []
    scale = 1 / np.maximum(1, room.max(axis=1, initial=1))
    for item in items:
        takers = takes(item, left)
        if np.count_nonzero(takers) < each:
            return None
        worth = np.where(takers, np.minimum(left[0] * scale[0], left[1] * scale[1]), -1.0)
        rows = []
        for _ in range(each):
            row = int(worth.argmax())
            worth[row] = -1.0
            rows.append(row)
            left[:, row] -= (item.vcpus, item.memory_mib)
        found.append(tuple(rows))
    return found


def _search(items: Sequence[Item], room: Room) -> list[tuple[int, ...]] | None:
    """Try every way, fullest hosts first and equal hosts once."""
    kinds, left = _kinds(items, room), room.copy()
    tries: list[Iterator[int]] = []
    chosen: list[int] = []
    nodes = 0
    while len(chosen) < len(items):
        item = items[len(chosen)]
        if len(tries) == len(chosen):
            tries.append(_candidates(items[len(chosen) :], left, kinds))
        row = next(tries[-1], None)
        nodes += 1
        if nodes > NODES_MAX:
            return None
        if row is not None:
            left[:, row] -= (item.vcpus, item.memory_mib)
            chosen.append(row)
            continue
        tries.pop()
        if not chosen:
            return None
        back = items[len(chosen) - 1]
        left[:, chosen.pop()] += (back.vcpus, back.memory_mib)
    return [(row,) for row in chosen]


def _kinds(items: Sequence[Item], room: Room) -> NDArray[np.int64]:
    """Number the hosts so that those of one number may take the same of *items*."""
    wishes = [item.allowed for item in items if item.allowed is not None]
    if not wishes:
        return np.zeros(room.shape[1], np.int64)
    return np.unique(np.stack(wishes), axis=1, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _candidates(items: Sequence[Item], left: Room, kinds: NDArray[np.int64]) -> Iterator[int]:
    """Give the hosts for the first of *items*: none where those that remain cannot all go in anyway."""
    usable = left[:, (left >= 0).all(axis=0)]
    needed = (sum(item.vcpus for item in items), sum(item.memory_mib for item in items))
    if (usable.sum(axis=1) < needed).any():
        return
    rows = np.flatnonzero(takes(items[0], left))
    seen = set[tuple[int, int, int]]()
    for row in rows[np.lexsort((rows, left[1, rows], left[0, rows]))].tolist():
        like = (int(left[0, row]), int(left[1, row]), int(kinds[row]))
        if like not in seen:
            seen.add(like)
            yield row
