"""Every crash point of every service on simulated hosts, each in its own flow."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash.walk import FLOWS, Tally, Walk
from tests.crash.world import a_world
from tests.support.postgres import PostgresServer
from tests.support.stack import NatsServer

REACHED_MIN = 0.75
"""The others depend on timing: a point that is passed in one life and not in the next."""


async def walked(service: str, nats: NatsServer, dsn: str, folder: Path) -> Tally:
    """Die once at each of the service's points, in a world of its own."""
    folder.mkdir()
    async with a_world(nats, dsn, folder) as world:
        walk = Walk(service, [world.subjects[service]], world.client, print)
        return await walk.walk(await walk.learn())


@pytest.mark.drives_processes
@pytest.mark.timeout(1500)
async def test_killed_at_every_point_each_service_loses_and_doubles_nothing(
    new_nats_server: Callable[[], NatsServer], postgres_server: PostgresServer, tmp_path: Path
) -> None:
    # Side by side: most of the time is waiting for a service to be there again.
    async with asyncio.TaskGroup() as walks:
        tallies = [
            walks.create_task(
                walked(service, new_nats_server(), await postgres_server.new_database(), tmp_path / service)
            )
            for service in ("scheduler", "projector", "api", "hostd")
        ]
    for tally in (walk.result() for walk in tallies):
        print("\n".join(tally.lines()))
        wanted = sum(len(tally.points[flow]) for flow in FLOWS)
        died = sum(len(tally.died[flow]) for flow in FLOWS)
        assert wanted > 0
        assert died >= REACHED_MIN * wanted, tally.lines()
