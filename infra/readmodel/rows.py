"""Whole rows by their ids, past SQLAlchemy, whose share of such a read is four times PostgreSQL's.

The statements are SQLAlchemy's all the same, written once.
"""

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import ARRAY, ClauseElement, Table, Uuid, any_, bindparam, literal_column, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncEngine

from events.values import Value
from infra.readmodel import tables
from infra.readmodel.door import DRIVERS_OWN, WHAT, at_the_door
from infra.runtime.errors import Unavailable

DIALECT = postgresql.asyncpg.dialect()  # type: ignore[no-untyped-call]
ROWS_MAX = 10_000
"""Rows of one read at most: several times what the largest turn of the projector can name."""
Driver = Any
"""An asyncpg connection, which has no types."""

V = TypeVar("V", bound=Value)


def text(statement: ClauseElement) -> str:
    """Write *statement* as the driver takes it; its parameters come in the order they are named in."""
    return str(statement.compile(dialect=DIALECT))


def _by_ids(table: Table, column: str) -> str:
    query = select(table).where(table.c[column] == any_(bindparam("ids", type_=ARRAY(Uuid))))
    return text(query.order_by(*table.primary_key.columns).limit(literal_column(str(ROWS_MAX))))


_BY_IDS = {
    table.name: _by_ids(table, column)
    for table, column in (
        (tables.vms, "vm_id"),
        (tables.hosts, "host_id"),
        (tables.operations, "operation_id"),
        (tables.operation_steps, "operation_id"),
    )
}


@asynccontextmanager
async def driving(engine: AsyncEngine) -> AsyncIterator[Driver]:
    """Lend a connection's driver, outside any transaction; raises Unavailable.

    *engine* commits by itself. After an error the connection is thrown away: its state is not known.
    """
    with at_the_door():
        async with engine.connect() as connection:
            driver: Driver = (await connection.get_raw_connection()).driver_connection
            async with AsyncExitStack() as undo:
                undo.push_async_callback(connection.invalidate)
                try:
                    yield driver
                except (*DRIVERS_OWN, OSError) as err:
                    # Any of them may tell that the connection ended in the middle of a call.
                    if driver.is_closed():
                        raise Unavailable(WHAT, f"PostgreSQL: the connection ended ({err})") from err
                    raise
                undo.pop_all()


async def rows_of(driver: Driver, view: type[V], table: Table, ids: Iterable[UUID]) -> list[V]:
    """Read the rows that belong to *ids*, in the order of the primary key."""
    wanted = sorted(ids)
    if not wanted:
        return []
    found = await driver.fetch(_BY_IDS[table.name], wanted)
    return [
        view.model_validate({name: _read(table, name, value) for name, value in row.items()}) for row in found
    ]


def _read(table: Table, column: str, value: object) -> object:
    """Undo what the driver leaves: jsonb comes as text."""
    return json.loads(value) if isinstance(value, str) and isinstance(table.c[column].type, JSONB) else value
