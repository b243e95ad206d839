"""Make the engine: bounded waits everywhere, and connections that survive a restart of PostgreSQL."""

from typing import Any

from sqlalchemy import event
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

CONNECT_TIMEOUT_S = 3.0
STATEMENT_TIMEOUT_S = 5.0
ANSWER_SLACK_S = 1.0
"""How much longer we wait than the server works: only a server that is frozen or cut off lets it pass."""

POOL_SIZE = 4
KEEPALIVE_S = 10


def make_engine(
    dsn: str, name: str, *, pool_size: int = POOL_SIZE, statement_timeout_s: float = STATEMENT_TIMEOUT_S
) -> AsyncEngine:
    """Make an engine for *dsn* (`postgresql+asyncpg://…`); *name* is shown in pg_stat_activity.

    It connects when it is first used. Whoever makes it calls `dispose`.
    """
    engine = create_async_engine(
        dsn,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=CONNECT_TIMEOUT_S,
        pool_use_lifo=True,  # the connection used last has its statements planned and its pages at hand
        connect_args={
            "timeout": CONNECT_TIMEOUT_S,
            "command_timeout": statement_timeout_s + ANSWER_SLACK_S,
            "server_settings": {
                "application_name": f"roost-{name}",
                "statement_timeout": f"{statement_timeout_s:g}s",
                # A projector whose machine is gone must not hold its locks for hours.
                "idle_in_transaction_session_timeout": f"{STATEMENT_TIMEOUT_S:g}s",
                "tcp_keepalives_idle": str(KEEPALIVE_S),
                "tcp_keepalives_interval": str(KEEPALIVE_S),
                "tcp_keepalives_count": "2",
                "jit": "off",  # compiling costs more than any of our queries
            },
        },
    )
    event.listen(engine.sync_engine, "checkout", _refuse_dead)
    return engine


def _refuse_dead(connection: Any, *_: object) -> None:
    """Make the pool connect anew after a restart of PostgreSQL.

    The driver has seen the end of each connection already, so that asking it costs nothing; the library's own
    `pool_pre_ping` costs three round trips each time.
    """
    if connection.driver_connection.is_closed():
        raise InvalidatePoolError
