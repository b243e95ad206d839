"""The projector's way into PostgreSQL: one turn, one statement, one writer at a time.

The active projector holds a lock, so that the others stand by. What fences it is its name in the checkpoint:
who takes over writes its own there, waits thereby for what is under way, and nothing from before is stored
after it.
"""

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from enum import Enum
from functools import cache
from typing import Any
from uuid import UUID

from pydantic_core import to_json
from sqlalchemy import ARRAY, Table, Text, bindparam, cast, exists, func, literal_column, select
from sqlalchemy import table as sql_table
from sqlalchemy.dialects.postgresql import JSONB, Insert, insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from events.ids import Seq
from events.values import Value
from events.views import HostView, Keys, OperationView, Rows, VmView
from infra.readmodel import tables
from infra.readmodel.door import at_the_door
from infra.readmodel.known import KnownRows
from infra.readmodel.port import Fenced, Turn
from infra.readmodel.postgres import PostgresReadModel
from infra.readmodel.rows import Driver, driving, rows_of, text

ACTIVE_LOCK = 0x726F_6F73_7401
"""Session lock of the one active projector. The number has no meaning but to be ours ("roost", 1)."""


class PostgresProjectionStore:
    """The projector's side, as `port.ProjectionStore` describes it."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._acquiring = asyncio.Lock()
        self._lock_holder: AsyncConnection | None = None
        self._lock_lost: Callable[[], bool] = lambda: True
        self._writer: UUID | None = None
        self._turns = asyncio.Lock()
        self._in_doubt = False
        self._known = KnownRows()

    @property
    def active(self) -> bool:
        """Whether the connection that holds the lock is still there, as far as we can see from here."""
        return self._lock_holder is not None and not self._lock_lost()

    async def acquire(self) -> bool:
        async with self._acquiring:
            if self.active:
                return True
            await self._let_go()
            with at_the_door():
                return await self._try_lock()

    async def release(self) -> None:
        async with self._acquiring:
            await self._let_go()

    async def position(self, stream: str) -> Seq:
        return await PostgresReadModel(self._engine).position(stream)

    async def advance(self, turn: Turn) -> None:
        # Two streams meet in the same rows: the second turn folds what the first one left.
        async with self._turns:
            if not self.active:
                raise Fenced("the lock of the active projector was lost with its connection, or never held")
            async with AsyncExitStack() as undo:
                undo.push_async_callback(self._forget)
                async with driving(self._autocommit) as driver:
                    await self._take(driver, turn)
                undo.pop_all()

    async def _take(self, driver: Driver, turn: Turn) -> None:
        writer = self._writer  # what is read from here on is right under this name alone
        missing = self._known.missing(turn.reads)
        self._known.learn(await _load(driver, missing), missing)
        rows, steps = turn.fold(self._known.rows(turn.reads))
        batches = {
            tables.vms: map(_columns, rows.vms.values()),
            tables.hosts: map(_columns, rows.hosts.values()),
            tables.operations: map(_columns, rows.operations.values()),
            tables.operation_steps: map(_columns, steps),
            tables.event_log: ({**_columns(event), "raw": raw} for event, raw in turn.logged),
        }
        self._in_doubt = True
        stored = await _write(driver, turn, writer, batches)
        self._in_doubt = False
        if not stored:
            why = f"the checkpoint of {turn.stream} is not at {turn.before} any more, or another one's"
            raise Fenced(why)
        self._known.learn(rows)

    async def _forget(self) -> None:
        """Believe nothing that a turn which was not taken has left; give up the lock where it is in doubt.

        It may yet be stored, at any time. Who takes the lock next, we perhaps, waits for it by writing a name
        of its own, and refuses it if it comes later still.
        """
        self._known.forget()
        if self._in_doubt:
            await self._let_go()

    async def _try_lock(self) -> bool:
        connection = await self._engine.connect()
        async with AsyncExitStack() as undo:
            # The lock may be ours without our knowing: it must end with this connection.
            undo.push_async_callback(_end, connection)
            # Outside any transaction: this connection stays idle for as long as we are active.
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            locked = await connection.scalar(select(func.pg_try_advisory_lock(ACTIVE_LOCK)))
            driver: Driver = (await connection.get_raw_connection()).driver_connection
            if locked:
                # From here on nobody who held the lock before us can write: what we read stays true.
                self._writer = await driver.fetchval(_NAME_WRITER)
                self._known.forget()
                self._in_doubt = False
            undo.pop_all()
        if not locked:
            await connection.close()
            return False
        self._lock_holder, self._lock_lost = connection, driver.is_closed
        return True

    async def _let_go(self) -> None:
        """Close the connection that holds the lock, rather than give it back with the lock to the pool."""
        holder, self._lock_holder = self._lock_holder, None
        if holder is not None:
            await _end(holder)


async def _end(connection: AsyncConnection) -> None:
    """Close a connection rather than give it back to the pool."""
    await connection.invalidate()
    await connection.close()


async def _load(driver: Driver, keys: Keys) -> Rows:
    operations = await rows_of(driver, OperationView, tables.operations, keys.operations)
    return Rows(
        vms={row.vm_id: row for row in await rows_of(driver, VmView, tables.vms, keys.vms)},
        hosts={row.host_id: row for row in await rows_of(driver, HostView, tables.hosts, keys.hosts)},
        operations={row.operation_id: row for row in operations},
    )


async def _write(
    driver: Driver, turn: Turn, writer: UUID | None, rows: Mapping[Table, Iterable[Mapping[str, Any]]]
) -> bool:
    """Move the checkpoint and write whole rows into all tables; False, and nothing, where it had moved.

    One statement is one transaction and one round trip, and a round trip costs more than a row.
    """
    batches = {table: batch for table, some in rows.items() if (batch := list(some))}
    arrays = (
        [row[column.name] for row in batch] for table, batch in batches.items() for column in table.columns
    )
    statement = _write_all(tuple(table.name for table in batches))
    return bool(await driver.fetchval(statement, turn.stream, turn.before, turn.after, writer, *arrays))


@cache
def _write_all(names: tuple[str, ...]) -> str:
    """Put the statements of some tables into one, their parameters numbered on."""
    parts, before = [_MOVE_CHECKPOINT], len(set(_PARAMETER.findall(_MOVE_CHECKPOINT)))
    for number, name in enumerate(names):
        parts.append(f"part_{number} AS ({_numbered_on(_WRITE[name], before)})")
        before += len(tables.metadata.tables[name].columns)
    return " ".join(["WITH", ", ".join(parts), "SELECT count(*) FROM moved"])


def _numbered_on(statement: str, by: int) -> str:
    return _PARAMETER.sub(lambda found: f"${int(found[1]) + by}", statement)


_MOVED = exists(select(literal_column("1")).select_from(sql_table("moved")))


def _from_arrays(table: Table) -> Insert:
    """Say `INSERT … SELECT … FROM unnest(…)`: one array a column, however many rows (jsonb comes as text)."""
    types = {c.name: Text() if isinstance(c.type, JSONB) else c.type for c in table.columns}
    arrays = (bindparam(f"all_{name}", type_=ARRAY(type_)) for name, type_ in types.items())
    batch = func.unnest(*arrays).table_valued(*types).render_derived("batch")
    values = (
        cast(batch.c[column.name], JSONB) if isinstance(column.type, JSONB) else batch.c[column.name]
        for column in table.columns
    )
    return insert(table).from_select(list(types), select(*values).where(_MOVED))


def _upsert(table: Table) -> Insert:
    statement = _from_arrays(table)
    keys = set(table.primary_key.columns)
    values = {c.name: statement.excluded[c.name] for c in table.columns if c not in keys}
    return statement.on_conflict_do_update(constraint=table.primary_key, set_=values)


_NAME_WRITER = (
    "WITH writer AS MATERIALIZED (SELECT gen_random_uuid() AS id) "
    "UPDATE checkpoint SET writer = writer.id FROM writer RETURNING writer"
)
_MOVE_CHECKPOINT = (
    "moved AS (UPDATE checkpoint SET seq = $3 WHERE stream = $1 AND seq = $2 AND writer = $4 RETURNING 1)"
)
_PARAMETER = re.compile(r"\$(\d+)")
_WRITE = {
    **{table.name: text(_upsert(table)) for table in (tables.vms, tables.hosts, tables.operations)},
    # What has happened does not change: a step or an event that is there already stays as it is.
    **{
        table.name: text(_from_arrays(table).on_conflict_do_nothing())
        for table in (tables.operation_steps, tables.event_log)
    },
}


def _columns(view: Value) -> dict[str, Any]:
    return {name: _plain(value) for name, value in view}


def _plain(value: object) -> object:
    match value:
        case Enum():
            return value.value
        case Value():
            return value.model_dump_json()
        case dict():
            return to_json(value).decode()
        case _:
            return value
