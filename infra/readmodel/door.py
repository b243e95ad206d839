"""The one place where errors of SQLAlchemy, asyncpg and the network become ours."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import asyncpg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from infra.runtime.errors import Unavailable

WHAT = "read model"

AWAY = ("08", "25006", "40", "53", "57", "58")
"""SQLSTATE prefixes that pass by themselves (PostgreSQL manual, appendix A): connection, a standby that is
still read only, rolled back by the server, out of resources, shut down or cancelled, system error.
"""


@contextmanager
def at_the_door() -> Iterator[None]:
    """Turn what says that PostgreSQL is away into Unavailable; our own defects pass as they are."""
    try:
        yield
    except (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as err:
        if _is_away(err):
            raise Unavailable(WHAT, f"PostgreSQL: {_story(err)}") from err
        raise


@asynccontextmanager
async def transaction(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Open a transaction: committed at the end, rolled back on any error; raises Unavailable."""
    with at_the_door():
        async with engine.begin() as connection:
            yield connection


def _is_away(err: BaseException) -> bool:
    # OSError holds TimeoutError too: connecting, or an answer that did not come.
    if isinstance(err, OSError | PoolTimeout):
        return True
    if isinstance(err, DBAPIError) and err.connection_invalidated:
        return True
    cause = err.orig if isinstance(err, DBAPIError) else err
    return str(getattr(cause, "sqlstate", None) or "").startswith(AWAY)


def _story(err: BaseException) -> str:
    cause = err.orig if isinstance(err, DBAPIError) and err.orig is not None else err
    return str(cause).partition("\n")[0] or type(cause).__name__
