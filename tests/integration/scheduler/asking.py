"""What the tests of real schedulers ask of them, and how they wait for the answers."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from events import subjects
from events.commands import Command, CreateVm, DeleteVm, StartVm, StopVm
from events.ids import CommandId, Seq
from infra.runtime.errors import Unavailable
from sim.checkers.ledger import Ledger
from sim.reading import read_ledger
from tests.support.builders import a_write, command_id, spec, vm_id
from tests.support.fleet import WAIT_S, Fleet, a_fleet
from tests.support.stack import NatsServer

MANIFEST = '{"kernel": "vmlinuz", "initrd": "initrd.img", "cmdline": "quiet"}'


@asynccontextmanager
async def a_fleet_with_images(nats: NatsServer, folder: Path) -> AsyncIterator[Fleet]:
    """Give two simulated hosts, not yet running, and an image for their VMs."""
    make_image(folder)
    async with a_fleet(nats, folder, 2) as fleet:
        yield fleet


def make_image(folder: Path) -> None:
    """Lay out an image that a simulated host can find."""
    (folder / "images" / "tiny").mkdir(parents=True)
    for name, text in (("vmlinuz", "x"), ("initrd.img", "x"), ("image.json", MANIFEST)):
        (folder / "images" / "tiny" / name).write_text(text)


async def ask(fleet: Fleet, id_: CommandId, command: Command) -> CommandId:
    """Send a command as the API does."""
    subject = subjects.command(command.vm_id, id_)
    await fleet.commands.append([a_write(subject, command, event_id=id_, operation=id_)], {subject: Seq(0)})
    return id_


async def ask_lives(fleet: Fleet, numbers: Iterable[int]) -> set[CommandId]:
    """Ask for each VM to be created, started, stopped and deleted; give the commands."""
    asked = set[CommandId]()
    for number in numbers:
        vm = vm_id(number)
        asked.add(await ask(fleet, command_id(number), CreateVm(vm_id=vm, spec=spec(f"vm-{number}"))))
        later: tuple[Command, ...] = (StartVm(vm_id=vm), StopVm(vm_id=vm, grace_s=1), DeleteVm(vm_id=vm))
        for offset, command in enumerate(later, 1):
            asked.add(await ask(fleet, command_id(1000 * offset + number), command))
    return asked


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
