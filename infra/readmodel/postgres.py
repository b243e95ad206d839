"""The read models in PostgreSQL: every question is one query along an index."""

from collections.abc import Sequence
from typing import TypeVar
from uuid import UUID

from sqlalchemy import Select, Table, func, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncEngine

from events.ids import CommandId, HostId, Seq, VmId
from events.values import Value, VmPhase
from events.views import HostView, LoggedEvent, OperationView, StepView, VmView
from infra.readmodel import tables
from infra.readmodel.door import transaction
from infra.readmodel.port import HISTORY_BYTES_MAX, PAGE_MAX
from infra.readmodel.rows import driving, rows_of

V = TypeVar("V", bound=Value)


class PostgresReadModel:
    """What is known, as `port.ReadModel` describes it."""

    def __init__(self, engine: AsyncEngine) -> None:
        # Each question is one statement: a transaction around it would be two round trips more.
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")

    async def vm(self, vm_id: VmId) -> VmView | None:
        return await self._one(VmView, tables.vms, vm_id)

    async def vms(
        self, *, name: str | None = None, after: VmId | None = None, limit: int = PAGE_MAX
    ) -> Sequence[VmView]:
        vms = tables.vms.c
        query = select(tables.vms).where(vms.phase != VmPhase.DELETED.value).order_by(vms.vm_id)
        if name is not None:
            query = query.where(vms.name == name)
        if after is not None:
            query = query.where(vms.vm_id > after)
        return await self._page(VmView, query, limit)

    async def host(self, host_id: HostId) -> HostView | None:
        return await self._one(HostView, tables.hosts, host_id)

    async def hosts(
        self, *, name: str | None = None, after: HostId | None = None, limit: int = PAGE_MAX
    ) -> Sequence[HostView]:
        hosts = tables.hosts.c
        query = select(tables.hosts).order_by(hosts.host_id)
        if name is not None:
            query = query.where(hosts.name == name)
        if after is not None:
            query = query.where(hosts.host_id > after)
        return await self._page(HostView, query, limit)

    async def operation(self, operation_id: CommandId) -> OperationView | None:
        return await self._one(OperationView, tables.operations, operation_id)

    async def operations(
        self, *, vm_id: VmId | None = None, before: CommandId | None = None, limit: int = PAGE_MAX
    ) -> Sequence[OperationView]:
        operations = tables.operations.c
        youngest_first = (operations.accepted_at.desc(), operations.operation_id.desc())
        query = select(tables.operations).order_by(*youngest_first)
        if vm_id is not None:
            query = query.where(operations.vm_id == vm_id)
        if before is not None:
            last = await self.operation(before)
            if last is None:
                return []
            query = _older(query, last)
        return await self._page(OperationView, query, limit)

    async def steps(self, operation_id: CommandId) -> Sequence[StepView]:
        async with driving(self._engine) as driver:
            return await rows_of(driver, StepView, tables.operation_steps, [operation_id])

    async def history(
        self, *, vm_id: VmId | None = None, host_id: HostId | None = None, after: Seq, limit: int = PAGE_MAX
    ) -> Sequence[LoggedEvent]:
        log = tables.event_log.c
        # The length of a body that lies apart is in its row: nothing is read of what does not fit.
        size = func.octet_length(log.raw).label("size")
        query = select(*(log[name] for name in LoggedEvent.model_fields), size).where(log.seq > after)
        if vm_id is not None:
            query = query.where(log.vm_id == vm_id)
        if host_id is not None:
            query = query.where(log.host_id == host_id)
        page = query.order_by(log.seq).limit(min(limit, PAGE_MAX)).subquery()
        sums = func.sum(page.c.size).over(order_by=page.c.seq).label("sum")
        summed = select(page, sums).subquery()
        fits = or_(summed.c.sum <= HISTORY_BYTES_MAX, summed.c.sum == summed.c.size)
        columns = (summed.c[name] for name in LoggedEvent.model_fields)
        return await self._page(LoggedEvent, select(*columns).where(fits).order_by(summed.c.seq), limit)

    async def position(self, stream: str) -> Seq:
        query = select(tables.checkpoint.c.seq).where(tables.checkpoint.c.stream == stream)
        async with transaction(self._engine) as connection:
            return Seq(await connection.scalar(query) or 0)

    async def _one(self, view: type[V], table: Table, id_: UUID) -> V | None:
        async with driving(self._engine) as driver:
            return next(iter(await rows_of(driver, view, table, [id_])), None)

    async def _page(self, view: type[V], query: Select[tuple[object, ...]], limit: int) -> list[V]:
        async with transaction(self._engine) as connection:
            found = await connection.execute(query.limit(min(limit, PAGE_MAX)))
            return [view.model_validate(row) for row in found.mappings()]


def _older(query: Select[tuple[object, ...]], last: OperationView) -> Select[tuple[object, ...]]:
    """Continue after *last*, in the order youngest first: those without a time come before all others."""
    operations = tables.operations.c
    if last.accepted_at is None:
        return query.where(
            operations.accepted_at.is_not(None) | (operations.operation_id < last.operation_id)
        )
    place = tuple_(operations.accepted_at, operations.operation_id)
    return query.where(place < tuple_(last.accepted_at, last.operation_id))
