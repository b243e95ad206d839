"""PostgreSQL at our door: what counts as away, what as a defect, and how its tables come about."""

import asyncio

import asyncpg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.readmodel.door import transaction
from infra.readmodel.engine import make_engine
from infra.readmodel.migrate import downgrade, pending, upgrade
from infra.readmodel.postgres import PostgresReadModel
from infra.readmodel.rows import driving
from infra.readmodel.tables import metadata
from infra.readmodel.writer import PostgresProjectionStore
from infra.runtime.errors import Unavailable
from tests.support.postgres import PostgresServer


async def test_a_server_that_is_away_is_unavailable_and_a_defect_is_not() -> None:
    nowhere = make_engine("postgresql+asyncpg://roost:x@127.0.0.1:1/roost", "test")
    with pytest.raises(Unavailable, match="read model"):
        await PostgresReadModel(nowhere).vms()
    with pytest.raises(Unavailable):
        await PostgresProjectionStore(nowhere).acquire()
    await nowhere.dispose()


async def test_what_is_not_migrated_yet_is_waited_for(postgres_server: PostgresServer) -> None:
    bare = make_engine(await postgres_server.new_database(template="template0"), "test")
    with pytest.raises(
        Unavailable, match=r'^read model: PostgreSQL: relation "vms" does not exist; the bootstrap'
    ):
        await PostgresReadModel(bare).vms()
    absent = make_engine(bare.url.set(database="nowhere").render_as_string(hide_password=False), "test")
    with pytest.raises(
        Unavailable, match=r'^read model: PostgreSQL: database "nowhere" does not exist; the bootstrap'
    ):
        await pending(absent)
    await bare.dispose()
    await absent.dispose()


async def test_a_defect_is_not_taken_for_an_outage(postgres_engine: AsyncEngine) -> None:
    for statement in ("SELECT no_such_column FROM vms", "SELECT 1/0", "SELEC"):
        with pytest.raises(DBAPIError):
            async with transaction(postgres_engine) as connection:
                await connection.execute(text(statement))


async def test_a_driver_out_of_step_with_a_dying_server_is_unavailable(postgres_dsn: str) -> None:
    """Seen under kills: 'cannot switch to state 12; another operation (2) is in progress'."""
    engine = make_engine(postgres_dsn, "test")
    out_of_step = asyncpg.InternalClientError(
        "cannot switch to state 12; another operation (2) is in progress"
    )
    with pytest.raises(Unavailable, match="cannot switch"):
        async with driving(engine):
            raise out_of_step
    with pytest.raises(asyncpg.InterfaceError, match="ours"):
        async with driving(engine):
            raise asyncpg.InterfaceError("a defect of ours")
    await engine.dispose()


async def test_a_statement_that_takes_too_long_is_unavailable(postgres_engine: AsyncEngine) -> None:
    statements = text("SET LOCAL statement_timeout = '50ms'"), text("SELECT pg_sleep(5)")

    async def ask() -> None:
        async with transaction(postgres_engine) as connection:
            for part in statements:
                await connection.execute(part)

    with pytest.raises(Unavailable, match="statement timeout"):
        await ask()


async def test_migrations_lead_to_the_tables_and_back(postgres_server: PostgresServer) -> None:
    dsn = await postgres_server.new_database(template="template0")
    engine = make_engine(dsn, "test")
    assert await pending(engine)
    await asyncio.gather(upgrade(dsn), upgrade(dsn))
    assert not await pending(engine)
    async with engine.connect() as connection:
        differences = await connection.run_sync(
            lambda plain: compare_metadata(MigrationContext.configure(plain), metadata)
        )
    assert differences == []
    await downgrade(dsn, "base")
    assert await pending(engine)
    async with engine.connect() as connection:
        left = await connection.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
        assert list(left) == ["alembic_version"]
    await upgrade(dsn)
    await engine.dispose()


async def test_a_migration_may_take_its_time(postgres_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bounds: list[object] = []

    def look(config: Config, _: str) -> None:
        connection: Connection = config.attributes["connection"]
        bounds.append(connection.scalar(text("SHOW statement_timeout")))

    monkeypatch.setattr(command, "upgrade", look)
    await upgrade(postgres_dsn)
    assert bounds == ["1h"]


async def test_a_newer_releases_database_is_not_behind(postgres_engine: AsyncEngine) -> None:
    async with transaction(postgres_engine) as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert not await pending(postgres_engine)
