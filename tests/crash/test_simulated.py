"""Every crash point of every service on simulated hosts, each in its own flow."""

from pathlib import Path

import pytest

from tests.crash.walk import FLOWS, Walk
from tests.crash.world import a_world
from tests.support.stack import NatsServer

REACHED_MIN = 0.75
"""The others depend on timing: a point that is passed in one life and not in the next."""


@pytest.mark.drives_processes
@pytest.mark.timeout(900)
@pytest.mark.parametrize("service", ["scheduler", "projector", "api", "hostd"])
async def test_killed_at_every_point_it_loses_and_doubles_nothing(
    nats_server: NatsServer, postgres_dsn: str, tmp_path: Path, service: str
) -> None:
    async with a_world(nats_server, postgres_dsn, tmp_path) as world:
        walk = Walk(service, [world.subjects[service]], world.client, print)
        points = await walk.learn()
        tally = await walk.walk(points)
    print("\n".join(tally.lines()))
    wanted = sum(len(points[flow]) for flow in FLOWS)
    died = sum(len(tally.died[flow]) for flow in FLOWS)
    assert wanted > 0
    assert died >= REACHED_MIN * wanted, tally.lines()
