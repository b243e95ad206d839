"""Bring a database to this release's tables and back, from a program: there is no alembic.ini."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.readmodel.door import transaction
from infra.readmodel.engine import make_engine

MIGRATE_LOCK = 0x726F_6F73_7403
"""Whoever migrates at the same time waits, then finds nothing left to do."""
STATEMENT_TIMEOUT_S = 3600.0
"""An index on the whole history takes as long as it takes; so does waiting for whoever is making it."""


async def upgrade(dsn: str) -> None:
    """Bring the database at *dsn* to the newest revision, all or nothing; raises Unavailable.

    One at a time in a process: alembic keeps what it is at work on in globals.
    """
    await _migrate(dsn, lambda config: command.upgrade(config, "head"))


async def downgrade(dsn: str, revision: str) -> None:
    """Take the database at *dsn* back to *revision* (`base`: nothing left); raises Unavailable."""
    await _migrate(dsn, lambda config: command.downgrade(config, revision))


async def pending(engine: AsyncEngine) -> bool:
    """Tell whether the database lacks a migration of this release; raises Unavailable.

    A revision that this release does not know is a newer release's: its tables still serve this one.
    """
    async with transaction(engine) as connection:
        current = await connection.run_sync(
            lambda plain: MigrationContext.configure(plain).get_current_revision()
        )
    return current is None or current in _outdated()


async def _migrate(dsn: str, change: Callable[[Config], None]) -> None:
    engine = make_engine(dsn, "migrate", pool_size=1, statement_timeout_s=STATEMENT_TIMEOUT_S)
    try:
        async with transaction(engine) as connection:
            await connection.execute(select(func.pg_advisory_xact_lock(MIGRATE_LOCK)))

            def run(plain: Connection) -> None:
                change(_config(plain))

            await connection.run_sync(run)
    finally:
        await engine.dispose()


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


@cache
def _outdated() -> frozenset[str]:
    """Name every revision of this release but the newest."""
    scripts = ScriptDirectory.from_config(_config())
    return frozenset(one.revision for one in scripts.walk_revisions() if not one.is_head)
