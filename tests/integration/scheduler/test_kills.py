"""The scheduler as a process, killed while commands flow: each ends once and the books are right."""

from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from events import subjects
from tests.integration.scheduler.asking import a_fleet_with_images, all_ended, ask_lives
from tests.support.fleet import Fleet
from tests.support.process import refusal
from tests.support.stack import NatsServer

VMS = 10
KILLS = 4


@pytest.fixture
async def fleet(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with a_fleet_with_images(nats_server, tmp_path) as fleet:
        yield fleet


@pytest.mark.parametrize("seed", [1, 2])
async def test_killed_at_random_it_ends_every_command_once(fleet: Fleet, seed: int) -> None:
    random = Random(seed)  # noqa: S311 - a seed to repeat, not a secret
    asked = await ask_lives(fleet, range(VMS))
    async with fleet.hostd():
        for _ in range(KILLS):
            before = await fleet.events.last_seq()
            async with fleet.scheduler() as process:
                follower, more = fleet.events.follow(before, [subjects.EVT_ALL]), random.randint(1, 15)
                while more > 0 and (found := await follower.next(more, 4.0)):
                    more -= len(found)
                await follower.close()
                process.kill()
        async with fleet.scheduler():
            ledger = await all_ended(fleet, asked)
    ledger.check()
    ledger.check_ended(asked)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({}, ("ROOST_NATS_SEED_FILE", "is missing")),
        ({"ROOST_VCPUS_PER_CORE": "0"}, ("ROOST_VCPUS_PER_CORE", "'0'", "greater than 0")),
        ({"ROOST_LOG_LEVEL": "loud"}, ("ROOST_LOG_LEVEL", "'loud'", "debug|info|warning|error")),
    ],
)
async def test_a_bad_setting_is_named_before_anything_is_connected_to(
    bad: dict[str, str], said: tuple[str, ...]
) -> None:
    good = {"ROOST_NATS_SEED_FILE": "/nowhere"} if bad else {}
    code, text = await refusal("services.scheduler.main", settings=good | bad)
    assert code == 78
    assert all(part in text for part in said), text
