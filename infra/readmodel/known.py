"""Rows as the one active projector last read or wrote them, so that a turn need not read them again."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from events.ids import CommandId, HostId, VmId
from events.views import HostView, Keys, OperationView, Rows, VmView

ROWS_MAX = 20_000
"""Rows kept; then all are forgotten, which costs one read each of those still needed.

A VM's takes 5 to 14 KiB of memory, the others' 1 to 2.
"""

K = TypeVar("K")
V = TypeVar("V")


@dataclass
class KnownRows:
    """None: there is no such row. True for as long as nobody else writes, which its owner sees to."""

    vms: dict[VmId, VmView | None] = field(default_factory=dict)
    hosts: dict[HostId, HostView | None] = field(default_factory=dict)
    operations: dict[CommandId, OperationView | None] = field(default_factory=dict)

    def missing(self, keys: Keys) -> Keys:
        """Tell which of *keys* have to be read; with too many known, all of them."""
        if len(self.vms) + len(self.hosts) + len(self.operations) > ROWS_MAX:
            self.forget()
        # Not by set difference, which walks through all that is known.
        return Keys(
            vms=frozenset(key for key in keys.vms if key not in self.vms),
            hosts=frozenset(key for key in keys.hosts if key not in self.hosts),
            operations=frozenset(key for key in keys.operations if key not in self.operations),
        )

    def learn(self, rows: Rows, keys: Keys = Keys()) -> None:  # noqa: B008 - an immutable value
        """Take in *rows*; those of *keys* that are not among them do not exist."""
        self.vms.update(_found(rows.vms, keys.vms))
        self.hosts.update(_found(rows.hosts, keys.hosts))
        self.operations.update(_found(rows.operations, keys.operations))

    def rows(self, keys: Keys) -> Rows:
        """Give the rows of *keys* that exist."""
        return Rows(
            vms=_those(self.vms, keys.vms),
            hosts=_those(self.hosts, keys.hosts),
            operations=_those(self.operations, keys.operations),
        )

    def forget(self) -> None:
        """Know nothing any more."""
        self.vms.clear()
        self.hosts.clear()
        self.operations.clear()


def _found(rows: Mapping[K, V], keys: Iterable[K]) -> dict[K, V | None]:
    return {**dict.fromkeys(keys), **rows}


def _those(table: Mapping[K, V | None], keys: Iterable[K]) -> dict[K, V]:
    return {key: row for key in keys if (row := table.get(key)) is not None}
