"""The read models' twin in memory, both sides in one object: held to the same contract suite."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import accumulate
from typing import TypeVar
from uuid import UUID

from events.ids import BEGINNING, CommandId, HostId, Seq, VmId
from events.values import VmPhase
from events.views import HostView, LoggedEvent, OperationView, Rows, StepView, VmView
from infra.readmodel.port import HISTORY_BYTES_MAX, PAGE_MAX, Fenced, Turn
from infra.runtime.errors import Unavailable

YOUNGEST = datetime.max.replace(tzinfo=UTC)

K = TypeVar("K")
V = TypeVar("V")


@dataclass
class MemoryTables:
    """What is stored, shared by every reader and projector on it."""

    vms: dict[VmId, VmView] = field(default_factory=dict)
    hosts: dict[HostId, HostView] = field(default_factory=dict)
    operations: dict[CommandId, OperationView] = field(default_factory=dict)
    steps: dict[tuple[CommandId, int], StepView] = field(default_factory=dict)
    log: dict[int, tuple[LoggedEvent, bytes]] = field(default_factory=dict)
    checkpoints: dict[str, Seq] = field(default_factory=dict)
    active: "MemoryReadModel | None" = None
    away: bool = False
    """While set, every call raises Unavailable, and whoever was active is not any more."""


class MemoryReadModel:
    """`port.ReadModel` and `port.ProjectionStore` over tables in memory."""

    def __init__(self, tables: MemoryTables) -> None:
        self._tables = tables

    async def vm(self, vm_id: VmId) -> VmView | None:
        return self._reach().vms.get(vm_id)

    async def vms(
        self, *, name: str | None = None, after: VmId | None = None, limit: int = PAGE_MAX
    ) -> Sequence[VmView]:
        kept = (row for row in self._reach().vms.values() if row.phase is not VmPhase.DELETED)
        named = [row for row in kept if name in {None, row.name}]
        rest = [row for row in named if after is None or row.vm_id > after]
        return sorted(rest, key=lambda row: row.vm_id)[: min(limit, PAGE_MAX)]

    async def host(self, host_id: HostId) -> HostView | None:
        return self._reach().hosts.get(host_id)

    async def hosts(
        self, *, name: str | None = None, after: HostId | None = None, limit: int = PAGE_MAX
    ) -> Sequence[HostView]:
        named = [row for row in self._reach().hosts.values() if name in {None, row.name}]
        rest = [row for row in named if after is None or row.host_id > after]
        return sorted(rest, key=lambda row: row.host_id)[: min(limit, PAGE_MAX)]

    async def operation(self, operation_id: CommandId) -> OperationView | None:
        return self._reach().operations.get(operation_id)

    async def operations(
        self, *, vm_id: VmId | None = None, before: CommandId | None = None, limit: int = PAGE_MAX
    ) -> Sequence[OperationView]:
        tables = self._reach()
        last = tables.operations.get(before) if before is not None else None
        if before is not None and last is None:
            return []
        rows = [row for row in tables.operations.values() if vm_id in {None, row.vm_id}]
        older = [row for row in rows if last is None or _age(row) < _age(last)]
        return sorted(older, key=_age, reverse=True)[: min(limit, PAGE_MAX)]

    async def steps(self, operation_id: CommandId) -> Sequence[StepView]:
        found = (step for step in self._reach().steps.values() if step.operation_id == operation_id)
        return sorted(found, key=lambda step: step.seq)[:PAGE_MAX]

    async def history(
        self, *, vm_id: VmId | None = None, host_id: HostId | None = None, after: Seq, limit: int = PAGE_MAX
    ) -> Sequence[LoggedEvent]:
        found = [
            (event, raw)
            for seq, (event, raw) in sorted(self._reach().log.items())
            if seq > after and vm_id in {None, event.vm_id} and host_id in {None, event.host_id}
        ][: min(limit, PAGE_MAX)]
        sums = accumulate(len(raw) for _, raw in found)
        fits = (size <= HISTORY_BYTES_MAX or at == 0 for at, size in enumerate(sums))
        return [event for (event, _), fit in zip(found, fits, strict=True) if fit]

    async def position(self, stream: str) -> Seq:
        return self._reach().checkpoints.get(stream, BEGINNING)

    async def acquire(self) -> bool:
        tables = self._reach()
        if tables.active is None:
            tables.active = self
        return tables.active is self

    async def release(self) -> None:
        if self._tables.active is self:
            self._tables.active = None

    async def advance(self, turn: Turn) -> None:
        tables = self._reach()
        if tables.active is not self:
            raise Fenced("another projector is the active one, or none")
        if tables.checkpoints.get(turn.stream, BEGINNING) != turn.before:
            raise Fenced(f"the checkpoint of {turn.stream} is not at {turn.before} any more")
        known = Rows(
            vms=_those(tables.vms, turn.reads.vms),
            hosts=_those(tables.hosts, turn.reads.hosts),
            operations=_those(tables.operations, turn.reads.operations),
        )
        rows, steps = turn.fold(known)
        tables.vms.update(rows.vms)
        tables.hosts.update(rows.hosts)
        tables.operations.update(rows.operations)
        for step in steps:
            tables.steps.setdefault((step.operation_id, step.seq), step)
        for event, raw in turn.logged:
            tables.log.setdefault(event.seq, (event, raw))
        tables.checkpoints[turn.stream] = turn.after

    def _reach(self) -> MemoryTables:
        if self._tables.away:
            self._tables.active = None
            raise Unavailable("read model", "the twin is told to be away")
        return self._tables


def _those(table: Mapping[K, V], keys: Iterable[K]) -> dict[K, V]:
    return {key: table[key] for key in keys if key in table}


def _age(row: OperationView) -> tuple[datetime, UUID]:
    """Order operations; one without a time counts as the youngest."""
    return row.accepted_at or YOUNGEST, row.operation_id
