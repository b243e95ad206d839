"""The scheduler as a process, killed while commands flow: each ends once and the books are right."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from events import subjects
from events.commands import Command, CreateVm, DeleteVm, StartVm, StopVm
from events.ids import CommandId, Seq
from infra.runtime.errors import Unavailable
from sim.checkers.ledger import Ledger
from sim.reading import read_ledger
from tests.support.builders import a_write, command_id, spec, vm_id
from tests.support.fleet import WAIT_S, Fleet, a_fleet
from tests.support.process import refusal
from tests.support.stack import NatsServer

VMS = 10
KILLS = 4
MANIFEST = '{"kernel": "vmlinuz", "initrd": "initrd.img", "cmdline": "quiet"}'


@pytest.fixture
async def fleet(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[Fleet]:
    (tmp_path / "images" / "tiny").mkdir(parents=True)
    for name, text in (("vmlinuz", "x"), ("initrd.img", "x"), ("image.json", MANIFEST)):
        (tmp_path / "images" / "tiny" / name).write_text(text)
    async with a_fleet(nats_server, tmp_path, 2) as fleet:
        yield fleet


async def ask(fleet: Fleet, id_: CommandId, command: Command) -> CommandId:
    """Send a command as the API does."""
    subject = subjects.command(command.vm_id, id_)
    await fleet.commands.append([a_write(subject, command, event_id=id_, operation=id_)], {subject: Seq(0)})
    return id_


async def all_ended(fleet: Fleet, wanted: set[CommandId]) -> Ledger:
    """Wait until all of *wanted* have ended; give what the log tells then."""
    follower = fleet.events.follow(Seq(0), [subjects.EVT_ALL])
    async with asyncio.timeout(WAIT_S):
        while True:
            ledger = await read_ledger(fleet.events)
            if all(ledger.ends[one] for one in wanted):
                return ledger
            try:
                await follower.next(1, 1.0)
            except Unavailable:
                continue


@pytest.mark.parametrize("seed", [1, 2])
async def test_killed_at_random_it_ends_every_command_once(fleet: Fleet, seed: int) -> None:
    random, asked = Random(seed), set[CommandId]()  # noqa: S311 - a seed to repeat, not a secret
    for number in range(VMS):
        vm = vm_id(number)
        asked.add(await ask(fleet, command_id(number), CreateVm(vm_id=vm, spec=spec(f"vm-{number}"))))
        later: tuple[Command, ...] = (StartVm(vm_id=vm), StopVm(vm_id=vm, grace_s=1), DeleteVm(vm_id=vm))
        for offset, command in enumerate(later, 1):
            asked.add(await ask(fleet, command_id(100 * offset + number), command))
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
