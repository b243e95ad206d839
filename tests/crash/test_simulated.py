"""Every crash point of every service on simulated hosts, each in its own flow."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from zlib import crc32

import pytest

from tests.crash.walk import FLOWS, Tally, Walk
from tests.crash.world import World, a_world, found
from tests.support.postgres import PostgresServer
from tests.support.stack import NatsServer

REACHED_MIN = 0.75
"""The others depend on timing: a point that is passed in one life and not in the next."""


WORLDS = {"scheduler": 1, "projector": 1, "api": 2, "hostd": 4}
"""Into how many worlds each service's points are parted: it has the more of them the more it does."""


async def walked(service: str, part: int, opening: AbstractAsyncContextManager[World]) -> Tally:
    """Die once at each of the service's points of this part, in a world of its own."""
    async with opening as world:
        walk = Walk(service, [world.subjects[service]], world.client, print)
        points = await walk.learn()
        ours = {
            flow: [label for label in labels if crc32(label.encode()) % WORLDS[service] == part]
            for flow, labels in points.items()
        }
        return await walk.walk(ours)


@pytest.mark.drives_processes
@pytest.mark.timeout(1500)
async def test_killed_at_every_point_each_service_loses_and_doubles_nothing(
    new_nats_server: Callable[[], NatsServer], postgres_server: PostgresServer, tmp_path: Path
) -> None:
    # Side by side: most of the time is waiting for a service to be there again.
    walks: dict[str, list[asyncio.Task[Tally]]] = {service: [] for service in WORLDS}
    async with asyncio.TaskGroup() as group:
        for service, parts in WORLDS.items():
            for part in range(parts):
                nats, dsn = new_nats_server(), await postgres_server.new_database()
                hosts = await found(nats, dsn)
                folder = tmp_path / f"{service}-{part}"
                folder.mkdir()
                walk = walked(service, part, a_world(nats, dsn, hosts, folder))
                walks[service].append(group.create_task(walk))
    for service, tasks in walks.items():
        tallies = [task.result() for task in tasks]
        for flow in FLOWS:
            wanted = sum(len(tally.points[flow]) for tally in tallies)
            missed = [label for tally in tallies for label in tally.missed[flow]]
            print(f"{service} {flow}: {wanted} points, died at {wanted - len(missed)}", *missed)
        points = sum(len(tally.points[flow]) for tally in tallies for flow in FLOWS)
        died = sum(len(tally.died[flow]) for tally in tallies for flow in FLOWS)
        assert points > 0
        assert died >= REACHED_MIN * points, [tally.missed for tally in tallies]
