"""The daemon on twins: refused, killed, without its journal; it does nothing twice and nothing unasked."""

import sqlite3
from pathlib import Path

import pytest

from events import subjects
from events.facts import (
    StopCause,
    VmRunning,
    VmStartFailed,
    VmStarting,
    VmStopped,
)
from events.values import Desired
from infra.eventlog.memory import MemoryConsumer
from infra.runtime.errors import Unavailable
from services.hostd import handler
from services.hostd.core import reconcile
from services.hostd.hypervisor import simulated
from services.hostd.hypervisor.port import HypervisorRefused
from tests.support.builders import HOST, VM, an_entry, stopped
from tests.unit.hostd.shell import GRACE_S, LIFE, Faults, Shell, live

SHORT_S = 0.05


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the simulation and the waits between tries take no longer than a test has."""
    for module, name in (
        (simulated, "CREATE_S"),
        (simulated, "BOOT_S"),
        (simulated, "SHUTDOWN_S"),
        (handler, "RETRY_S"),
        (handler, "NO_ANSWER_S"),
        (reconcile, "PROBE_AGAIN_S"),
    ):
        monkeypatch.setattr(module, name, SHORT_S)


async def test_a_start_that_is_refused_is_said_once_and_not_tried_again(tmp_path: Path) -> None:
    shell = Shell(tmp_path, Faults("hypervisor.start", 1, error=HypervisorRefused("no such machine type")))
    async with shell.running():
        await shell.desire(an_entry())
        await shell.said(VmStartFailed)
        await shell.desire(an_entry(Desired.ABSENT))
        await shell.until(lambda: not shell.left(), "the entry was forgotten")
    assert [type(one) for one in shell.facts()] == [VmStarting, VmStartFailed]
    assert shell.hypervisor.made == 0


@pytest.mark.parametrize(
    "refused", ["hypervisor.ask_shutdown", "hypervisor.undefine", "hypervisor.domain", "hypervisor.domains"]
)
async def test_what_is_refused_once_is_tried_again_and_stops_nothing_else(
    refused: str, tmp_path: Path
) -> None:
    shell = Shell(tmp_path, Faults(refused, 1, error=HypervisorRefused("not just now")))
    await live(shell)
    assert shell.faults.calls[refused] >= 1
    assert [type(one) for one in shell.facts()] == LIFE


async def test_a_guest_that_went_while_its_daemon_was_killed_is_not_started_again(tmp_path: Path) -> None:
    """Killed after the start, before anything was said of it; the guest shuts down by itself meanwhile."""
    shell = Shell(tmp_path, Faults("journal.report", 2, error=Unavailable("journal", "full")))
    async with shell.running():
        await shell.desire(an_entry())
        await shell.until(lambda: shell.faults.calls["journal.report"] >= 2, "the guest was made")
    shell = Shell(tmp_path, stream=shell.stream)
    await shell.hypervisor.power_off(VM)
    async with shell.running():
        await shell.said(VmStopped)
    assert [one.TYPE for one in shell.facts()] == ["vm.starting", "vm.stopped"]
    assert (shell.facts()[-1], shell.hypervisor.made) == (stopped(cause=StopCause.POWERED_OFF), 0)


async def killed_with_a_guest(folder: Path) -> Shell:
    """A world whose host runs a guest and has lost its journal."""
    shell = Shell(folder)
    async with shell.running():
        await shell.desire(an_entry())
        await shell.said(VmRunning)
    for file in folder.glob("journal.sqlite*"):
        file.unlink()
    again = Shell(folder, stream=shell.stream)
    again.consumer = shell.consumer
    return again


async def test_without_its_journal_it_leaves_guests_alone_until_it_is_told_of_them(tmp_path: Path) -> None:
    shell = await killed_with_a_guest(tmp_path)
    before = shell.guest()
    async with shell.running():
        await shell.until(lambda: shell.faults.calls["desired.fetch"] >= 2, "it listened")
        assert (shell.guest(), shell.left()) == (before, [])
        await shell.desire(an_entry(Desired.STOPPED, grace_s=GRACE_S))
        await shell.said(VmStopped)
    assert [type(one) for one in shell.facts()] == LIFE
    assert (shell.hypervisor.made, shell.hypervisor.ended) == (0, 0)


async def test_without_its_journal_a_redelivery_starts_nothing_that_runs(tmp_path: Path) -> None:
    """The durable consumer was made anew, or its acknowledgements were lost with the server's power."""
    shell = await killed_with_a_guest(tmp_path)
    shell.consumer = MemoryConsumer(shell.stream, subjects.host_desired(HOST))
    before = shell.guest()
    async with shell.running():
        await shell.said(VmRunning, times=2)
    assert shell.guest() == before
    assert shell.hypervisor.made == 0
    assert [type(one) for one in shell.facts()] == [*LIFE[:3], *LIFE[1:3]]


@pytest.mark.parametrize("again", [False, True], ids=["gone since", "placed anew since"])
async def test_an_older_copy_of_the_journal_starts_and_ends_nothing(again: bool, tmp_path: Path) -> None:
    shell, copy = Shell(tmp_path), tmp_path / "copy"
    async with shell.running():
        await shell.desire(an_entry())
        await shell.said(VmRunning)
        with sqlite3.connect(shell.journal_file) as db:
            db.execute("VACUUM INTO ?", (str(copy),))
        db.close()
        await shell.desire(an_entry(Desired.STOPPED, grace_s=GRACE_S))
        await shell.said(VmStopped)
        await shell.desire(an_entry(Desired.ABSENT))
        await shell.until(lambda: not shell.left(), "the entry was forgotten")
        if again:
            await shell.desire(an_entry(generation=2))
            await shell.said(VmRunning, times=2)
    for file in tmp_path.glob("journal.sqlite*"):
        file.unlink()
    copy.rename(shell.journal_file)
    restored = Shell(tmp_path, stream=shell.stream)
    restored.consumer, before = shell.consumer, restored.guest()
    async with restored.running():
        await restored.until(lambda: restored.faults.calls["desired.fetch"] >= 2, "it listened")
        await restored.until(lambda: restored.faults.calls["journal.entry"] >= 1, "it looked at its entry")
    assert restored.guest() == before
    assert (before is not None) == again
    assert (restored.hypervisor.made, restored.hypervisor.ended) == (0, 0)
