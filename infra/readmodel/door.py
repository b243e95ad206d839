"""The one place where errors of SQLAlchemy, asyncpg and the network become ours."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import asyncpg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from infra.runtime.errors import Unavailable

WHAT = "read model"

DRIVERS_OWN = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What the driver raises; the three have no class in common but Exception."""

AWAY = ("08", "25006", "40", "53", "57", "58")
"""SQLSTATE prefixes that pass by themselves (PostgreSQL manual, appendix A): connection, a standby that is
still read only, rolled back by the server, out of resources, shut down or cancelled, system error.
"""

UNMIGRATED = ("3D000", "42P01")
"""No such database, no such table: the bootstrap has not been there yet, and who waits will see it come."""


@contextmanager
def at_the_door() -> Iterator[None]:
    """Turn what says that PostgreSQL is away into Unavailable; our own defects pass as they are."""
    try:
        yield
    except (SQLAlchemyError, *DRIVERS_OWN, OSError) as err:
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
    # A server that dies says so unasked. The driver takes that for an answer, is out of step from then, and
    # counts as closed only when the end has come as well (asyncpg 0.32; seen under kills).
    if isinstance(_cause(err), asyncpg.InternalClientError):
        return True
    if isinstance(err, DBAPIError) and err.connection_invalidated:
        return True
    return _state(err).startswith(AWAY + UNMIGRATED)


def _story(err: BaseException) -> str:
    cause = _cause(err)
    story = str(cause).partition("\n")[0] or type(cause).__name__
    return f"{story}; the bootstrap has not made it yet" if _state(err) in UNMIGRATED else story


def _state(err: BaseException) -> str:
    return str(getattr(_cause(err), "sqlstate", None) or "")


def _cause(err: BaseException) -> BaseException:
    """Give the driver's own error: SQLAlchemy wraps it, and its adapter of asyncpg once more."""
    found = err.orig if isinstance(err, DBAPIError) and err.orig is not None else err
    return found.__cause__ if isinstance(found.__cause__, DRIVERS_OWN) else found
