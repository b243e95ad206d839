"""Keep at hand what each placement would waste: a column a shape, where changed hosts alone are made anew."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from services.scheduler.core.packing import Floats, Free, Mix, Shape, bucket, cost, mix_of

COLUMNS_MAX = 256
"""Shapes whose columns are kept; then they are made anew as they are asked for."""
CHANGES_MAX = 10_000


@dataclass
class Column:
    """What one shape would waste on each host, and up to which change that is right."""

    cost: Floats
    seen: int


class Ranks:
    """Mutable, owned by one fleet.

    All that it gives is a function of the fleet and of the VMs that are placed now: two that were told of the
    same in different ways agree, one that has just started too.
    """

    def __init__(self, placed: Counter[Shape] | None = None) -> None:
        self.placed: Counter[Shape] = Counter() if placed is None else placed.copy()
        self._mix: Mix | None = None
        self._columns: dict[Shape, Column] = {}
        self._changed: list[int] = []

    def count(self, shape: Shape, number: int) -> None:
        """Note that *number* more VMs of *shape* are placed; below zero: fewer."""
        before = self.placed[shape]
        self.placed[shape] = before + number
        if not self.placed[shape]:
            del self.placed[shape]
        if bucket(before) != bucket(before + number):
            self.forget()

    def changed(self, row: int) -> None:
        """Note that the host *row* has another room."""
        if len(self._changed) >= CHANGES_MAX:
            self._columns.clear()
            self._changed.clear()
        self._changed.append(row)

    def forget(self) -> None:
        """Note that rows have moved, or that room has another worth."""
        self._mix = None
        self._columns.clear()
        self._changed.clear()

    def mix(self, capacity: Callable[[], Free]) -> Mix:
        """Give the mix of today, on hosts of this *capacity*."""
        if self._mix is None:
            whole = capacity()
            vcpus, memory = (float(part.mean(dtype=np.float64)) for part in (whole.vcpus, whole.memory_mib))
            self._mix = mix_of(self.placed, vcpus, memory)
        return self._mix

    def cost(self, free: Free, capacity: Callable[[], Free], shape: Shape) -> Floats:
        """Give what *shape* would waste on each host; not to be changed by who asks."""
        mix, column = self.mix(capacity), self._columns.get(shape)
        if column is None:
            if len(self._columns) >= COLUMNS_MAX:
                self._columns.clear()
            column = self._columns[shape] = Column(cost(free, shape, mix), len(self._changed))
        elif column.seen < len(self._changed):
            rows = np.array(sorted(set(self._changed[column.seen :])))
            column.cost[rows] = cost(free.rows(rows), shape, mix)
            column.seen = len(self._changed)
        return column.cost
