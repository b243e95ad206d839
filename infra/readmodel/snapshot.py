"""All tables as they were at one instant, to be compared with the log."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from sqlalchemy import Select, Table, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from events.ids import Seq
from events.values import Value
from events.views import HostView, OperationView, Rows, StepView, VmView
from infra.readmodel import tables
from infra.readmodel.door import at_the_door

PAGE = 1000
IDLE_S = 600
"""How long whoever compares may be busy with the log between two reads."""

V = TypeVar("V", bound=Value)


class Snapshot:
    """One transaction that sees nothing that comes after its beginning. Each read raises Unavailable."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def positions(self) -> Mapping[str, Seq]:
        """Give the checkpoint of each projection."""
        columns = tables.checkpoint.c
        rows = self._read(select(columns.stream, columns.seq))
        return {row["stream"]: Seq(row["seq"]) async for row in rows}

    async def rows(self) -> Rows:
        """Give every VM, host and operation."""
        return Rows(
            vms={row.vm_id: row for row in await self._all(VmView, tables.vms)},
            hosts={row.host_id: row for row in await self._all(HostView, tables.hosts)},
            operations={row.operation_id: row for row in await self._all(OperationView, tables.operations)},
        )

    async def steps(self) -> Sequence[StepView]:
        """Give every step of every operation."""
        return await self._all(StepView, tables.operation_steps)

    async def history(self) -> AsyncIterator[tuple[Seq, str, bytes]]:
        """Give sequence, subject and bytes of each event, in order."""
        log = tables.event_log.c
        async for row in self._read(select(log.seq, log.subject, log.raw).order_by(log.seq)):
            yield Seq(row["seq"]), row["subject"], row["raw"]

    async def _all(self, view: type[V], table: Table) -> list[V]:
        return [view.model_validate(row) async for row in self._read(select(table))]

    async def _read(self, query: Select[Any]) -> AsyncIterator[Mapping[str, Any]]:
        with at_the_door():
            async with self._connection.stream(query.execution_options(yield_per=PAGE)) as found:
                async for row in found.mappings():
                    yield row


@asynccontextmanager
async def snapshot(engine: AsyncEngine) -> AsyncIterator[Snapshot]:
    """Open one, read only; raises Unavailable."""
    isolated = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    with at_the_door():
        async with isolated.begin() as connection:
            await connection.execute(text(f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE_S}s'"))
            yield Snapshot(connection)
