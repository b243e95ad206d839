"""The host daemon as a process: killed, cut off, told nonsense; its guests and facts live through it."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from events import subjects
from events.desired import DesiredVm
from events.envelope import Message
from events.facts import VmBooting, VmRunning, VmStarting, VmStopped, VmStopping
from events.ids import HostId, VmId
from events.values import Desired
from infra.eventlog.port import Write
from infra.runtime.ids import random_id
from tests.integration.hostd.images import make_image
from tests.support.builders import VM, an_entry, vm_id
from tests.support.eventually import eventually
from tests.support.fleet import WAIT_S, Fleet, a_fleet
from tests.support.process import refusal
from tests.support.stack import NatsServer

UP: list[type[Message]] = [VmStarting, VmBooting, VmRunning]
DOWN: list[type[Message]] = [VmStopping, VmStopped]
STOP = an_entry(Desired.STOPPED, grace_s=5)


@pytest.fixture
async def fleet(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[Fleet]:
    make_image(tmp_path)
    async with a_fleet(nats_server, tmp_path, 1) as fleet:
        yield fleet


def kinds(found: list[Message]) -> list[type[Message]]:
    return [type(one) for one in found]


async def told(fleet: Fleet, vm: VmId, *expected: type[Message]) -> list[Message]:
    """Wait for so many facts about a VM; they are these, in this order."""
    pattern = subjects.vm_fact(vm, fleet.hosts[0])
    found = await fleet.facts(pattern, lambda found: len(found) >= len(expected))
    assert kinds(found) == list(expected)
    return found


async def test_killed_while_a_vm_runs_it_finds_its_guest_again(fleet: Fleet) -> None:
    guest = fleet.state / "sim-1" / "guests" / f"{VM}.json"
    async with fleet.hostd() as process:
        await fleet.desire(an_entry())
        await told(fleet, VM, *UP)
        born = guest.read_text()
        process.kill()
        await process.wait()
    assert guest.read_text() == born
    async with fleet.hostd():
        await fleet.desire(STOP)
        await told(fleet, VM, *UP, *DOWN)


@pytest.mark.parametrize("after", [VmStarting, VmBooting, VmStopping])
async def test_killed_at_any_step_it_goes_on_and_says_everything_once(
    fleet: Fleet, after: type[Message]
) -> None:
    pattern = subjects.vm_fact(VM, fleet.hosts[0])
    async with fleet.hostd() as process:
        await fleet.desire(an_entry())
        if after in DOWN:
            await told(fleet, VM, *UP)
            await fleet.desire(STOP)
        await fleet.facts(pattern, lambda found: after in kinds(found))
        process.kill()
        await process.wait()
    async with fleet.hostd():
        if after not in DOWN:
            await fleet.facts(pattern, lambda found: VmRunning in kinds(found))
            await fleet.desire(STOP)
        await told(fleet, VM, *UP, *DOWN)


async def guest_asked(fleet: Fleet) -> None:
    """Wait until the guest was asked to shut down, by its own file: nobody can be told."""
    guest = fleet.state / "sim-1" / "guests" / f"{VM}.json"
    await eventually(
        lambda: json.loads(guest.read_text())["shuts_down_at"] is not None, "the guest was asked", WAIT_S
    )


async def test_facts_wait_for_the_log_and_come_in_order_once(fleet: Fleet) -> None:
    async with fleet.hostd():
        await fleet.desire(an_entry())
        await told(fleet, VM, *UP)
        await fleet.desire(STOP)
        process = fleet.nats.server.process
        assert process is not None
        await fleet.facts(subjects.vm_fact(VM, fleet.hosts[0]), lambda found: VmStopping in kinds(found))
        process.kill()
        await guest_asked(fleet)
        fleet.nats.server.start(fleet.nats.hosts)
        await told(fleet, VM, *UP, *DOWN)


async def test_an_entry_that_cannot_be_read_is_skipped_and_the_next_one_works(fleet: Fleet) -> None:
    subject = subjects.host_desired(fleet.hosts[0])
    other: DesiredVm = an_entry(vm=vm_id(4))
    async with fleet.hostd():
        await fleet.events.append([Write(subject, random_id(), b"nonsense")], {})
        await fleet.desire(other)
        await told(fleet, other.vm_id, *UP)
    assert '"desired_unreadable"' in (fleet.state / "hostd.log").read_text()


async def test_a_host_reports_itself_at_each_start(fleet: Fleet) -> None:
    host: HostId = fleet.hosts[0]
    for times in (1, 2):
        async with fleet.hostd():
            await fleet.facts(subjects.host_fact(host), lambda found, times=times: len(found) == times)  # type: ignore[misc]


GOOD = {
    "ROOST_NATS_SEED_FILE": "/nowhere",
    "ROOST_HOST_ID": str(vm_id(1)),
    "ROOST_HOST_NAME": "rack-1",
    "ROOST_STATE_DIR": "/nowhere",
    "ROOST_IMAGE_DIR": "/nowhere",
}


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"ROOST_HOST_NAME": "Not A Name"}, ("ROOST_HOST_NAME", "'Not A Name'", "pattern")),
        ({"ROOST_CREATES_AT_ONCE": "0"}, ("ROOST_CREATES_AT_ONCE", "'0'", "greater than or equal to 1")),
        ({"ROOST_DOMAIN_TYPE": "xen"}, ("ROOST_DOMAIN_TYPE", "'xen'", "'kvm' or 'qemu'")),
        ({"ROOST_NATS_URL": "http://x"}, ("ROOST_NATS_URL", "'http://x'", "nats|tls")),
    ],
)
async def test_a_bad_setting_is_named_before_anything_is_connected_to(
    bad: dict[str, str], said: tuple[str, ...]
) -> None:
    code, text = await refusal("services.hostd.main", settings=GOOD | bad)
    assert code == 78
    assert all(part in text for part in said), text
