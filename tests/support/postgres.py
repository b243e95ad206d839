"""A real PostgreSQL for tests: one server a test run, a new database a test."""

import itertools
import shutil
import signal
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

TEMPLATE = "roost"
"""The server's own database: migrated once, then copied for each test."""
RESTART_TIMEOUT_S = 20.0


class PostgresServer:
    """A running server that makes databases."""

    def __init__(self, folder: Path) -> None:
        self._server = EmbeddedPostgres(folder / "postgres", folder / "keys")
        self._server.start()
        self._migrated = False
        self._names = (f"test_{number}" for number in itertools.count(1))

    def dsn(self, database: str = TEMPLATE) -> str:
        """Say where *database* is."""
        return self._server.dsn.removesuffix(TEMPLATE) + database

    async def new_database(self, template: str = TEMPLATE) -> str:
        """Make a database of its own for one test; give where it is."""
        if not self._migrated:
            await upgrade(self.dsn())
            self._migrated = True
        name = next(self._names)
        plain = self.dsn("postgres").replace("+asyncpg", "")
        connection = await asyncpg.connect(plain)
        try:
            await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        finally:
            await connection.close()
        return self.dsn(name)

    def kill(self) -> None:
        """Kill -9 the server; its sessions end when they see that it is gone."""
        assert self._server.process is not None
        self._server.process.popen.send_signal(signal.SIGKILL)
        self._server.process.popen.wait()

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
        self.kill()
        shutil.rmtree(self._server.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    folder = Path(tempfile.mkdtemp(prefix="roost-test-"))
    server = PostgresServer(folder)
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
