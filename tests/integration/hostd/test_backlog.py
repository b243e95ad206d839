"""A host that was cut off from the log: what piled up is published whole, in order on each subject, once."""

import sqlite3
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from uuid import UUID

import pytest

from events import subjects
from events.codec import decode
from events.facts import StopCause, VmBooting, VmRunning, VmStarting, VmStopped
from events.ids import Generation, HostId, Seq
from events.values import Desired
from infra.eventlog.port import Recorded, Write
from services.hostd.journal import Journal
from tests.integration.hostd.images import make_image
from tests.support.builders import a_write, an_entry, vm_id
from tests.support.eventually import eventually
from tests.support.fleet import Fleet, a_fleet
from tests.support.stack import NatsServer

VMS, ROUNDS = 250, 5
KILLS = 6
DRAIN_S = 120.0
READ_MAX, READ_S = 1000, 1.0
GUESTS = 120


@pytest.fixture
async def fleet(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[Fleet]:
    make_image(tmp_path)
    async with a_fleet(nats_server, tmp_path, 1) as fleet:
        yield fleet


def journal_of(fleet: Fleet) -> Path:
    return fleet.state / "sim-1" / "journal.sqlite"


def waiting(fleet: Fleet) -> list[tuple[str, UUID]]:
    """What the journal has yet to publish, as anyone can read who has the file."""
    db = sqlite3.connect(journal_of(fleet))
    rows = db.execute("SELECT subject, event_id FROM outbox ORDER BY n").fetchall()
    db.close()
    return [(subject, UUID(event_id)) for subject, event_id in rows]


def by_subject(said: Sequence[tuple[str, UUID]]) -> Mapping[str, list[UUID]]:
    found: dict[str, list[UUID]] = defaultdict(list)
    for subject, event_id in said:
        found[subject].append(event_id)
    return found


async def stored(fleet: Fleet) -> list[Recorded]:
    """Read every fact about a VM from the beginning of the log."""
    follower = fleet.events.follow(Seq(0), [f"evt.vm.*.{fleet.hosts[0]}"])
    found: list[Recorded] = []
    while more := await follower.next(READ_MAX, READ_S):
        found += more
    await follower.close()
    return found


def facts_of(host: HostId) -> list[Write]:
    """Five facts about each of many VMs, as an hour has them: all VMs mixed, each one's in order."""
    writes = []
    for round_number in range(ROUNDS):
        for number in range(VMS):
            vm, generation = vm_id(number), Generation(1 + round_number // 4)
            told = {"vm_id": vm, "host_id": host, "generation": generation}
            kind = (VmStarting, VmBooting, VmRunning)[round_number % 4] if round_number % 4 < 3 else None
            fact = kind(**told) if kind else VmStopped(**told, cause=StopCause.GUEST)
            writes.append(a_write(subjects.vm_fact(vm, host), fact))
    return writes


@pytest.mark.drives_processes
async def test_a_backlog_is_published_once_whoever_is_killed_on_the_way(fleet: Fleet) -> None:
    """Daemon and server are killed in turn while it drains; either loses answers that were on their way."""
    journal = Journal(journal_of(fleet))
    for write in facts_of(fleet.hosts[0]):
        journal.publish_later(write)
    journal.close()
    expected, total = by_subject(waiting(fleet)), VMS * ROUNDS
    drained = 0
    for number, victim in zip(range(KILLS), cycle(["hostd", "server", "both"]), strict=False):
        async with fleet.hostd() as process:
            goal = total * (number + 1) // (KILLS + 1)
            await eventually(
                lambda goal=goal: total - len(waiting(fleet)) >= goal,  # type: ignore[misc]
                f"{goal} facts are drained",
                DRAIN_S,
            )
            drained = total - len(waiting(fleet))
            if victim != "hostd":
                fleet.nats.restart()
            if victim != "server":
                process.kill()
                await process.wait()
    assert drained < total, "it was over before the last kill"
    async with fleet.hostd():
        await eventually(lambda: not waiting(fleet), "everything is published", DRAIN_S)
    found = [(one.subject, one.event_id) for one in await stored(fleet) if one.event_id is not None]
    assert by_subject(found) == expected


async def test_guests_that_start_and_end_while_the_log_is_away_are_told_of_when_it_is_back(
    fleet: Fleet,
) -> None:
    async with fleet.hostd() as process:
        await fleet.facts(subjects.host_fact(fleet.hosts[0]), lambda found: len(found) == 1)
        for number in range(GUESTS):
            await fleet.desire(an_entry(Desired.RUNNING, vm=vm_id(number)))
        await eventually(
            lambda: count(fleet, "SELECT count(*) FROM folded") == GUESTS, "all entries are known"
        )
        server = fleet.nats.server.process
        assert server is not None
        server.kill()
        guests = fleet.state / "sim-1" / "guests"
        await eventually(lambda: len(list(guests.glob("*.json"))) == GUESTS, "all run")
        process.kill()
        await process.wait()
    for path in guests.glob("*.json"):
        path.write_text(path.read_text().replace('"ended":null', '"ended":"guest"'))
    fleet.nats.server.start(fleet.nats.hosts)
    async with fleet.hostd():
        await eventually(lambda: told_of(fleet) == GUESTS and not waiting(fleet), "all is told", DRAIN_S)
    kinds = [[read_kind(one) for one in found] for found in (await by_vm(fleet)).values()]
    assert len(kinds) == GUESTS
    whole = ["vm.starting", "vm.booting", "vm.running", "vm.stopped"]
    for one in kinds:
        assert one == [kind for kind in whole if kind in one], "out of order, or doubled"
        assert {one[0], one[-1]} == {"vm.starting", "vm.stopped"}


def told_of(fleet: Fleet) -> int:
    return count(fleet, "SELECT count(*) FROM vm WHERE reported LIKE 'vm.stopped %'")


def count(fleet: Fleet, query: str) -> int:
    db = sqlite3.connect(journal_of(fleet))
    found: int = db.execute(query).fetchone()[0]
    db.close()
    return found


async def by_vm(fleet: Fleet) -> Mapping[str, list[Recorded]]:
    found: dict[str, list[Recorded]] = defaultdict(list)
    for one in await stored(fleet):
        found[one.subject].append(one)
    return found


def read_kind(recorded: Recorded) -> str:
    _, message = decode(recorded.body)
    return message.TYPE
