"""A short storm of kills; `make soak PART=chaos` makes long ones."""

from pathlib import Path
from random import Random

import pytest

from tests.crash.chaos import Chaos
from tests.crash.world import a_world, found
from tests.support.postgres import PostgresServer
from tests.support.seeds import a_seed
from tests.support.stack import NatsServer

PAIRS = 40


@pytest.mark.drives_processes
@pytest.mark.timeout(600)
async def test_starts_and_stops_under_random_kills(
    nats_server: NatsServer, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    seed = a_seed("tests/crash/test_chaos.py")
    dsn = await postgres_server.new_database()
    hosts = await found(nats_server, dsn)
    async with a_world(nats_server, dsn, hosts, tmp_path) as world:
        chaos = Chaos(world, nats_server, postgres_server, Random(seed), print)  # noqa: S311 - to be repeated
        await chaos.run(PAIRS)
    print(f"{chaos.done} starts and stops; killed {chaos.kills}")
    assert chaos.done == PAIRS
