"""Whether the rows of the read models are those that a rebuild from the log would make."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from events.ids import CommandId, HostId, VmId
from events.values import Value
from events.views import HostView, Keys, OperationView, Rows, StepView, VmView
from services.projector.core.project import fold, reads
from services.projector.core.reading import Seen

K = TypeVar("K")
V = TypeVar("V", bound=Value)

BLANK = {"verb": "", "requested_by": "", "accepted_at": None}
"""What a row of an operation has from the command alone."""


@dataclass
class Rebuild:
    """The rows as the log makes them, in memory."""

    vms: dict[VmId, VmView] = field(default_factory=dict)
    hosts: dict[HostId, HostView] = field(default_factory=dict)
    operations: dict[CommandId, OperationView] = field(default_factory=dict)
    steps: dict[tuple[CommandId, int], StepView] = field(default_factory=dict)

    def take(self, seen: Seen) -> None:
        """Project one message, as the projector does."""
        rows, steps = fold(self._rows(reads([seen])), [seen])
        self.vms.update(rows.vms)
        self.hosts.update(rows.hosts)
        self.operations.update(rows.operations)
        for step in steps:
            self.steps.setdefault((step.operation_id, step.seq), step)

    def faults(self, rows: Rows, steps: Iterable[StepView], asked: Iterable[CommandId]) -> Sequence[str]:
        """Name each row that differs; operations whose command CMD has forgotten are compared in part."""
        known = frozenset(asked)
        return [
            *_differences("VM", self.vms, rows.vms),
            *_differences("host", self.hosts, rows.hosts),
            *_differences(
                "operation", *(_comparable(some, known) for some in (self.operations, rows.operations))
            ),
            *_differences("step", self.steps, {(step.operation_id, step.seq): step for step in steps}),
        ]

    def _rows(self, keys: Keys) -> Rows:
        return Rows(
            vms={key: self.vms[key] for key in keys.vms if key in self.vms},
            hosts={key: self.hosts[key] for key in keys.hosts if key in self.hosts},
            operations={key: self.operations[key] for key in keys.operations if key in self.operations},
        )


def _comparable(
    rows: Mapping[CommandId, OperationView], known: frozenset[CommandId]
) -> Mapping[CommandId, OperationView]:
    """Leave out what only a forgotten command could tell."""

    return {id_: row if id_ in known else row.model_copy(update=BLANK) for id_, row in rows.items()}


def _differences(kind: str, wanted: Mapping[K, V], found: Mapping[K, V]) -> Iterator[str]:
    for key in wanted.keys() - found.keys():
        yield f"{kind} {key}: the log has it, the table has not"
    for key in found.keys() - wanted.keys():
        yield f"{kind} {key}: the table has it, the log has not"
    for key in wanted.keys() & found.keys():
        one, other = wanted[key], found[key]
        if one != other:
            names = [name for name, value in one if value != getattr(other, name)]
            told = ", ".join(
                f"{name} is {getattr(other, name)!r}, not {getattr(one, name)!r}" for name in names
            )
            yield f"{kind} {key}: {told}"
