"""A real PostgreSQL for tests: one server a test run, a new database a test."""

import itertools
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.embedded.postgres import EmbeddedPostgres
from infra.readmodel.engine import make_engine
from infra.readmodel.migrate import upgrade
from infra.runtime.errors import Unavailable
from tests.support.backends import POSTGRES_OPTIONS, Address, Binaries, Image, PostgresBackend, Source
from tests.support.backends_address import AddressPostgres
from tests.support.backends_docker import DockerPostgres
from tests.support.stack import Sources

TEMPLATE = "roost_test"
"""Migrated once, then copied for each test; each copy's name begins with its."""
OURS = r"SELECT datname FROM pg_database WHERE datname LIKE 'roost\_test%'"
RESTART_TIMEOUT_S = 20.0


def postgres_backend(source: Source, folder: Path) -> PostgresBackend:
    """Make the server, not yet started."""
    match source:
        case Address(dsn):
            return AddressPostgres(dsn)
        case Image(name):
            return DockerPostgres(name)
        case Binaries():
            return EmbeddedPostgres(folder / "postgres", folder / "keys", options=POSTGRES_OPTIONS)


class PostgresServer:
    """A running server that makes databases."""

    def __init__(self, server: PostgresBackend) -> None:
        self._server = server
        self._server.start()
        self._has_template = False
        self._names = (f"{TEMPLATE}_{number}" for number in itertools.count(1))

    def dsn(self, database: str) -> str:
        """Say where *database* is."""
        return f"{self._server.dsn.rpartition('/')[0]}/{database}"

    async def new_database(self, template: str = TEMPLATE) -> str:
        """Make a database of its own for one test; give where it is."""
        name = next(self._names)
        connection = await asyncpg.connect(self._server.dsn.replace("+asyncpg", ""))
        try:
            if not self._has_template:
                await self._make_template(connection)
            await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        finally:
            await connection.close()
        return self.dsn(name)

    async def _make_template(self, connection: asyncpg.Connection) -> None:
        """Make it anew: a server that is not ours may hold what an earlier run made."""
        for row in await connection.fetch(OURS):
            await connection.execute(f"DROP DATABASE {row['datname']} WITH (FORCE)")
        await connection.execute(f"CREATE DATABASE {TEMPLATE}")
        await upgrade(self.dsn(TEMPLATE))
        self._has_template = True

    def kill(self) -> None:
        """Kill -9 the server; its sessions end when they see that it is gone."""
        assert self._server.process is not None
        self._server.process.kill()

    def start(self) -> None:
        """Start again on the same data and port, when the last session of the old server is gone."""
        deadline = time.monotonic() + RESTART_TIMEOUT_S
        while True:
            try:
                self._server.start()
            except Unavailable:
                if time.monotonic() > deadline:
                    raise
            else:
                return

    def close(self) -> None:
        """Leave nothing behind; writing all databases to disk first, as a stop does, takes seconds."""
        self._server.remove()


@pytest.fixture(scope="session")
def postgres_server(sources: Sources) -> Iterator[PostgresServer]:
    folder = Path(tempfile.mkdtemp(prefix="roost-test-"))
    server = PostgresServer(postgres_backend(sources.postgres, folder))
    yield server
    server.close()
    shutil.rmtree(folder)


@pytest.fixture
async def postgres_dsn(postgres_server: PostgresServer) -> str:
    """A database with all tables and no rows."""
    return await postgres_server.new_database()


@pytest.fixture
async def postgres_engine(postgres_dsn: str) -> AsyncIterator[AsyncEngine]:
    engine = make_engine(postgres_dsn, "test")
    yield engine
    await engine.dispose()
