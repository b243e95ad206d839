"""The daemon as a process, its journal full, damaged or of a newer version: it says so, and waits or ends."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from events import subjects
from events.facts import VmBooting, VmRunning, VmStarting, VmStopped, VmStopping
from events.values import Desired
from infra.embedded.process import free_port
from infra.eventlog.signals import NatsSignals
from services.hostd.journal import Journal
from tests.integration.hostd.images import make_image
from tests.support.builders import VM, an_entry, vm_id
from tests.support.eventually import eventually
from tests.support.fleet import Fleet, a_fleet
from tests.support.process import refusal
from tests.support.stack import NatsServer

OTHER = vm_id(4)
BLOCK = 64 * 1024
BEATS = 3
EX_DATAERR = 65


@pytest.fixture
async def fleet(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[Fleet]:
    make_image(tmp_path)
    async with a_fleet(nats_server, tmp_path, 1) as fleet:
        yield fleet


def guest(fleet: Fleet, vm: object) -> str | None:
    """The guest as its file shows it; its folder lies beside the small disk."""
    path = fleet.state / "sim-1.guests" / f"{vm}.json"
    return path.read_text() if path.exists() else None


def fill(folder: Path) -> Path:
    """Write until there is no room at all; give what took it."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (BLOCK, 1):
            try:
                while file.write(b"\0" * size) == size:
                    continue
            except OSError:
                continue  # No room for a piece of this size.
    return filler


async def ready(port: int) -> tuple[bool, str]:
    """Ask `/readyz`; give whether it is ready, and what it says of the journal."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /readyz HTTP/1.1\r\n\r\n")
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return head.startswith(b"HTTP/1.1 200"), json.loads(body)["parts"]["journal"]


@asynccontextmanager
async def heartbeats(fleet: Fleet) -> AsyncIterator[Callable[[], int]]:
    """Count the host's heartbeats."""
    heard: list[str] = []
    listen = NatsSignals(fleet.client).listen(
        subjects.heartbeat(fleet.hosts[0]), lambda subject, _: heard.append(subject)
    )
    end = await listen
    yield lambda: len(heard)
    await end()


async def test_a_full_disk_is_said_changes_nothing_and_passes(fleet: Fleet) -> None:
    host, port = fleet.hosts[0], free_port()
    up, pattern = [VmStarting, VmBooting, VmRunning], subjects.vm_fact(VM, fleet.hosts[0])
    async with fleet.hostd(small_disk=True, health_port=port) as process, heartbeats(fleet) as beats:
        await fleet.desire(an_entry())
        await fleet.facts(pattern, lambda found: len(found) == len(up))
        filler = fill(Path(f"/proc/{process.pid}/root{fleet.state}/sim-1"))
        born = guest(fleet, VM)
        await fleet.desire(an_entry(Desired.STOPPED))
        await fleet.desire(an_entry(vm=OTHER))

        async def says_so() -> bool:
            is_ready, journal = await ready(port)
            return not is_ready and "full" in journal

        await eventually(says_so, "/readyz tells of the full disk")
        before = beats()
        await eventually(lambda: beats() >= before + BEATS, "the heartbeat goes on")
        assert (guest(fleet, VM), guest(fleet, OTHER)) == (born, None)
        filler.unlink()
        found = await fleet.facts(pattern, lambda found: VmStopped in map(type, found))
        assert [type(one) for one in found] == [*up, VmStopping, VmStopped]
        await fleet.facts(subjects.vm_fact(OTHER, host), lambda found: VmRunning in map(type, found))

        async def well() -> bool:
            return (await ready(port))[0]

        await eventually(well, "it is ready again")
    said = (fleet.state / "hostd.log").read_text()
    outages = [one for one in map(json.loads, said.splitlines()) if one["event"] == "outage_began"]
    assert [(one["part"], "full" in one["reason"]) for one in outages] == [("journal", True)]


async def test_a_disk_that_fills_at_any_moment_loses_no_guest_and_no_fact(fleet: Fleet) -> None:
    """Room comes and goes while guests start and stop: each is told of in order, once."""
    count = 12
    async with fleet.hostd(small_disk=True) as process:
        folder = Path(f"/proc/{process.pid}/root{fleet.state}/sim-1")
        await eventually((folder / "journal.sqlite").exists, "the disk is there")
        for number in range(count):
            filler = fill(folder)
            await fleet.desire(an_entry(vm=vm_id(number)))
            filler.unlink()
        for number in range(count):
            filler = fill(folder)
            await fleet.desire(an_entry(Desired.STOPPED, vm=vm_id(number)))
            filler.unlink()
        for number in range(count):
            found = await fleet.facts(
                subjects.vm_fact(vm_id(number), fleet.hosts[0]), lambda found: VmStopped in map(type, found)
            )
            kinds = [type(one) for one in found]
            whole = [VmStarting, VmBooting, VmRunning, VmStopping, VmStopped]
            assert kinds == [one for one in whole if one in kinds], "out of order, or doubled"


def damage(path: Path) -> None:
    path.write_bytes(b"not a database, and longer than a header of one hundred bytes would have to be" * 99)


def make_newer(path: Path) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA user_version = 99")
    db.close()


@pytest.mark.parametrize(("harm", "words"), [(damage, "not a database"), (make_newer, "version 99")])
async def test_a_journal_that_cannot_be_used_ends_the_daemon_before_it_connects_to_anything(
    harm: Callable[[Path], None], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "sim-1" / "journal.sqlite"
    Journal(path).close()
    harm(path)
    before = path.read_bytes()
    settings = {
        "ROOST_NATS_SEED_FILE": "/nowhere",
        "ROOST_STATE_DIR": str(tmp_path),
        "ROOST_IMAGE_DIR": "/nowhere",
    }
    code, said = await refusal("services.hostd.main", "--simulate", "1", settings=settings)
    assert code == EX_DATAERR
    assert f"error: journal {path}" in said
    assert words in said
    assert "Traceback" not in said
    assert path.read_bytes() == before
