"""The fixtures of the servers, told by the environment where those come from: real test runs, as children."""

import asyncio
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.deploy.identities import seed_file
from infra.deploy.streams import ensure_streams, streams
from infra.embedded.nats import EmbeddedNats
from infra.embedded.postgres import EmbeddedPostgres
from infra.eventlog.connection import closer, connect
from infra.eventlog.jetstream import ask
from tests.support.process import ROOT

READS = "tests/contract/test_eventlog.py::test_a_follower_that_is_closed_leaves_no_consumer_behind"
KILLS = "tests/contract/test_eventlog.py::test_a_server_that_is_killed_and_started_again_costs_no_message"
ROWS = "tests/integration/projector/test_postgres.py::test_migrations_lead_to_the_tables_and_back"
RUN_TIMEOUT_S = 90.0
GIB = 1024**3


async def run(*tests: str, **told: str) -> tuple[int | None, str]:
    """Run *tests* in a child that is told this and nothing else of back-ends; give its code and words."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ROOST_TEST_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests),
        env=kept | told,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=ROOT,
    )
    said, _ = await asyncio.wait_for(process.communicate(), RUN_TIMEOUT_S)
    return process.returncode, said.decode()


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="roost-backends-") as made:
        Path(made).chmod(0o711)
        yield Path(made)


@pytest.fixture
def nats(folder: Path) -> Iterator[EmbeddedNats]:
    """A server that somebody else runs."""
    server = EmbeddedNats(folder / "nats", folder / "keys")
    server.start({})
    yield server
    server.stop()


@pytest.fixture
def postgres(folder: Path) -> Iterator[EmbeddedPostgres]:
    """A server that somebody else runs."""
    server = EmbeddedPostgres(folder / "postgres", folder / "keys")
    server.start()
    yield server
    server.remove()


async def test_local_serves_where_it_is_forced() -> None:
    code, said = await run(KILLS, ROWS, ROOST_TEST_BACKEND="local", ROOST_TEST_NATS_URL="nats://127.0.0.1:1")
    assert (code, "2 passed" in said) == (0, True), said


async def test_docker_that_is_forced_and_not_there_fails_with_what_to_do() -> None:
    code, said = await run(READS, ROWS, ROOST_TEST_BACKEND="docker", DOCKER_HOST="unix:///nowhere")
    assert (code, "2 errors" in said) == (1, True), said
    assert "no Docker engine answers at unix:///nowhere" in said
    assert "make test-docker" in said


async def test_servers_at_an_address_are_used_never_killed_and_left_as_they_were(
    nats: EmbeddedNats, postgres: EmbeddedPostgres, folder: Path
) -> None:
    told = {
        "ROOST_TEST_NATS_URL": nats.url,
        "ROOST_TEST_NATS_KEYS": str(folder / "keys"),
        "ROOST_TEST_POSTGRES_DSN": postgres.dsn,
    }
    code, said = await run(READS, ROWS, KILLS, **told)
    assert (code, "1 failed, 2 passed" in said) == (1, True), said
    assert f"the one at {nats.url} is not ours to end" in said
    code, said = await run(READS, ROWS, **told)  # what the first run made is in no one's way
    assert (code, "2 passed" in said) == (0, True), said
    client = await connect(nats.url, seed_file(folder / "keys", "bootstrap"), "bootstrap", lambda _: None)
    assert (await ask(client, "$JS.API.STREAM.NAMES", {})).get("streams") is None
    await closer(client)()


async def test_a_server_that_holds_someones_streams_is_left_alone(nats: EmbeddedNats, folder: Path) -> None:
    client = await connect(nats.url, seed_file(folder / "keys", "bootstrap"), "bootstrap", lambda _: None)
    await ensure_streams(client, streams(GIB, GIB, 1))
    keys = str(folder / "keys")
    code, said = await run(READS, ROOST_TEST_NATS_URL=nats.url, ROOST_TEST_NATS_KEYS=keys)
    assert (code, "1 error" in said) == (1, True), said
    assert "holds the streams CMD, DEAD, EVT" in said
    found = await ask(client, "$JS.API.STREAM.NAMES", {})
    assert sorted(found["streams"]) == ["CMD", "DEAD", "EVT", "LEASE"]
    await closer(client)()
