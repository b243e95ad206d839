"""The daemon on twins does every verb once, as its policies say, and goes on past a silent guest."""

from collections import Counter
from pathlib import Path

import pytest

from events import subjects
from events.desired import ActionVerb, DesiredVm
from events.effective import FailureCode, StartFailure, Step
from events.facts import (
    PauseCause,
    StopCause,
    VmActionDone,
    VmBalloonChanged,
    VmBooting,
    VmFact,
    VmIoErrorSeen,
    VmNotResponding,
    VmPaused,
    VmRebooted,
    VmResponding,
    VmResumed,
    VmRunning,
    VmStartFailed,
    VmStarting,
    VmStopped,
)
from events.spec import Disk, ErrorPolicy
from events.values import Desired, VmPhase
from services.hostd import handler
from services.hostd.core import entry as entry_module
from services.hostd.core import reconcile
from services.hostd.core.domain import BalloonChanged, IoError
from services.hostd.hypervisor import simulated
from services.hostd.hypervisor.port import HypervisorRefused, NoAnswer, StartRefused
from tests.support.builders import HOST, VM, an_action, an_entry, command_id, vm_id
from tests.unit.hostd.shell import Faults, Shell

SHORT_S = 0.05
UP = ["vm.starting", "vm.booting", "vm.running"]
OTHER = vm_id(9)
MANY = 100


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
        (entry_module, "RESUME_S"),
    ):
        monkeypatch.setattr(module, name, SHORT_S)


def acting(
    number: int, verb: ActionVerb, desired: Desired = Desired.RUNNING, grace_s: float = 0
) -> DesiredVm:
    return an_entry(desired).model_copy(update={"actions": (an_action(number, verb, grace_s),)})


def with_policy(policy: ErrorPolicy) -> DesiredVm:
    entry = an_entry()
    return entry.model_copy(update={"spec": entry.spec.model_copy(update={"on_io_error": policy})})


def types(shell: Shell) -> list[str]:
    return [one.TYPE for one in shell.facts()]


def done(shell: Shell) -> Counter[object]:
    """How often each action was said to be done."""
    return Counter(one.token for one in shell.facts() if isinstance(one, VmActionDone))


async def test_a_guest_is_paused_and_goes_on(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    async with shell.running():
        await shell.desire(an_entry())
        await shell.said(VmRunning)
        await shell.desire(an_entry(Desired.PAUSED))
        await shell.said(VmPaused)
        guest = shell.guest()
        assert guest is not None
        assert guest["paused"] == "user"
        await shell.desire(acting(1, ActionVerb.RESUME))
        await shell.said(VmResumed)
    assert types(shell) == [*UP, "vm.paused", "vm.action_done", "vm.resumed"]
    assert done(shell) == {command_id(1): 1}


async def test_a_pause_of_what_stands_still_for_an_error_is_answered(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    async with shell.running():
        await shell.desire(with_policy(ErrorPolicy.LEAVE_PAUSED))
        await shell.said(VmRunning)
        await shell.hypervisor.stand_still(VM, PauseCause.IO_ERROR)
        await shell.said(VmPaused)
        await shell.desire(acting(1, ActionVerb.PAUSE, Desired.PAUSED))
        await shell.said(VmActionDone)
    assert types(shell) == [*UP, "vm.paused", "vm.action_done"]


async def test_a_guest_that_starts_paused_boots_when_it_is_resumed(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    async with shell.running():
        await shell.desire(an_entry(Desired.PAUSED))
        await shell.said(VmPaused)
        await shell.desire(acting(1, ActionVerb.RESUME))
        await shell.said(VmRunning)
    told = [(one.TYPE, getattr(one, "phase", None)) for one in shell.facts()]
    assert [one for one, _ in told] == [*UP[:2], "vm.paused", "vm.action_done", "vm.resumed", "vm.running"]
    assert ("vm.resumed", VmPhase.BOOTING) in told


@pytest.mark.parametrize("grace_s", [0.0, 30.0], ids=["forced", "asked"])
async def test_a_guest_reboots_once(grace_s: float, tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    async with shell.running():
        await shell.desire(an_entry())
        await shell.said(VmRunning)
        await shell.desire(acting(1, ActionVerb.REBOOT, grace_s=grace_s))
        await shell.said(VmActionDone)
        await shell.said(VmRebooted)
    assert done(shell) == {command_id(1): 1}
    assert types(shell).count("vm.rebooted") == 1
    assert shell.faults.calls["hypervisor.reset"] == (grace_s == 0)
    assert shell.faults.calls["hypervisor.ask_reboot"] == (grace_s > 0)


async def test_a_guest_that_does_not_hear_is_reset_when_its_grace_is_over(tmp_path: Path) -> None:
    shell = Shell(tmp_path, Faults("hypervisor.ask_reboot", 1, error=HypervisorRefused("no agent")))
    async with shell.running():
        await shell.desire(an_entry())
        await shell.said(VmRunning)
        await shell.desire(acting(1, ActionVerb.REBOOT, grace_s=0.2))
        await shell.said(VmActionDone)
    assert (done(shell), shell.faults.calls["hypervisor.reset"]) == ({command_id(1): 1}, 1)


@pytest.mark.parametrize("verb", [ActionVerb.RESET, ActionVerb.UPDATE])
async def test_an_action_is_done_once_though_its_entry_comes_again(verb: ActionVerb, tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    async with shell.running():
        await shell.desire(an_entry())
        await shell.said(VmRunning)
        await shell.desire(acting(1, verb))
        await shell.said(VmActionDone)
        await shell.desire(acting(1, verb))
        entry = acting(2, verb)
        await shell.desire(entry.model_copy(update={"actions": (an_action(1, verb), *entry.actions)}))
        await shell.said(VmActionDone, times=2)
    assert done(shell) == {command_id(1): 1, command_id(2): 1}
    assert shell.faults.calls[f"hypervisor.{verb}"] == 2


async def test_an_update_reaches_the_guest(tmp_path: Path) -> None:
    shell, entry = Shell(tmp_path), acting(1, ActionVerb.UPDATE)
    async with shell.running():
        await shell.desire(an_entry())
        await shell.said(VmRunning)
        await shell.desire(entry.model_copy(update={"spec": entry.spec.model_copy(update={"vcpus": 1})}))
        await shell.said(VmActionDone)
        guest = shell.guest()
    assert guest is not None
    assert guest["spec"]["vcpus"] == 1


async def test_a_change_that_only_the_daemon_heeds_does_not_trouble_the_hypervisor(tmp_path: Path) -> None:
    shell, entry = Shell(tmp_path), acting(1, ActionVerb.UPDATE)
    (action,) = entry.actions
    async with shell.running():
        await shell.desire(an_entry())
        await shell.said(VmRunning)
        ours = action.model_copy(update={"fields": ("priority",)})
        await shell.desire(entry.model_copy(update={"actions": (ours,)}))
        await shell.said(VmActionDone)
    assert shell.faults.calls["hypervisor.update"] == 0


async def test_a_pause_that_is_refused_says_why_and_is_not_tried_again(tmp_path: Path) -> None:
    shell = Shell(tmp_path, Faults("hypervisor.pause", 1, error=HypervisorRefused("not on this machine")))
    async with shell.running():
        await shell.desire(an_entry())
        await shell.said(VmRunning)
        await shell.desire(acting(1, ActionVerb.PAUSE, Desired.PAUSED))
        await shell.said(VmActionDone)
        await shell.desire(acting(1, ActionVerb.PAUSE))
        await shell.desire(acting(2, ActionVerb.RESET))
        await shell.said(VmActionDone, times=2)
    first = next(one for one in shell.facts() if isinstance(one, VmActionDone))
    assert [one.refused for one in first.done] == ["not on this machine"]
    assert shell.faults.calls["hypervisor.pause"] == 1


@pytest.mark.parametrize("verb", [ActionVerb.RESET, ActionVerb.UPDATE])
async def test_an_action_that_is_refused_says_why_and_is_not_tried_again(
    verb: ActionVerb, tmp_path: Path
) -> None:
    shell = Shell(tmp_path, Faults(f"hypervisor.{verb}", 1, error=HypervisorRefused("not on this machine")))
    async with shell.running():
        await shell.desire(an_entry())
        await shell.said(VmRunning)
        await shell.desire(acting(1, verb))
        await shell.said(VmActionDone)
    (said,) = [one for one in shell.facts() if isinstance(one, VmActionDone)]
    assert [(one.token, one.refused) for one in said.done] == [(command_id(1), "not on this machine")]
    assert shell.faults.calls[f"hypervisor.{verb}"] == 1


async def test_a_guest_that_met_an_error_goes_on_by_itself(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    async with shell.running():
        await shell.desire(with_policy(ErrorPolicy.AUTO_RESUME))
        await shell.said(VmRunning)
        await shell.hypervisor.stand_still(VM, PauseCause.NO_SPACE)
        await shell.said(VmResumed)
        await shell.hypervisor.stand_still(VM, PauseCause.NO_SPACE)
        await shell.said(VmResumed, times=2)
    assert types(shell) == [*UP, *["vm.paused", "vm.resumed"] * 2]
    assert shell.hypervisor.ended == 0


async def test_a_guest_that_met_an_error_is_left_where_its_policy_says_so(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    async with shell.running():
        await shell.desire(with_policy(ErrorPolicy.LEAVE_PAUSED))
        await shell.said(VmRunning)
        await shell.hypervisor.stand_still(VM, PauseCause.IO_ERROR)
        await shell.said(VmPaused)
        looks = shell.faults.calls["hypervisor.domain"]
        await shell.desire(with_policy(ErrorPolicy.LEAVE_PAUSED))
        await shell.until(lambda: shell.faults.calls["hypervisor.domain"] > looks, "it was looked at again")
    assert types(shell) == [*UP, "vm.paused"]
    assert shell.faults.calls["hypervisor.resume"] == 0


async def test_a_guest_that_met_an_error_is_ended_where_its_policy_says_so(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    async with shell.running():
        await shell.desire(with_policy(ErrorPolicy.KILL))
        await shell.said(VmRunning)
        await shell.hypervisor.stand_still(VM, PauseCause.IO_ERROR)
        await shell.said(VmStopped)
    assert types(shell) == [*UP, "vm.paused", "vm.stopped"]
    (end,) = [one for one in shell.facts() if isinstance(one, VmStopped)]
    assert end.cause is StopCause.IO_ERROR


async def test_a_guest_without_an_answer_is_said_once_and_others_go_on(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    async with shell.running():
        await shell.desire(an_entry())
        await shell.said(VmRunning)
        shell.hypervisor.mute.add(VM)
        shell.hypervisor.touch(VM)
        await shell.said(VmNotResponding)
        await shell.desire(an_entry(vm=OTHER))
        other = subjects.vm_fact(OTHER, HOST)
        await shell.until(lambda: VmRunning in map(type, shell.facts(other)), "the other one runs")
        asked = shell.hypervisor.unanswered
        await shell.until(lambda: shell.hypervisor.unanswered > asked + 2, "it was asked again")
        shell.hypervisor.mute.clear()
        await shell.said(VmResponding)
    assert types(shell) == [*UP, "vm.not_responding", "vm.responding"]
    (silent,) = [one for one in shell.facts() if isinstance(one, VmNotResponding)]
    assert (silent.responding, silent.call, silent.phase) == (False, "domain", VmPhase.RUNNING)


async def test_nothing_is_said_of_a_silent_hypervisor_after_the_end(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    async with shell.running():
        await shell.desire(an_entry(Desired.STOPPED))
        await shell.said(VmStopped)
        shell.hypervisor.mute.add(VM)
        shell.hypervisor.touch(VM)
        await shell.until(lambda: shell.hypervisor.unanswered > 1, "it was asked twice")
    assert types(shell) == ["vm.stopped"]


async def test_a_start_that_cannot_be_says_all_that_is_wrong(tmp_path: Path) -> None:
    failures = [
        StartFailure(step=Step.VALIDATE, code=code, message=code.value)
        for code in (FailureCode.MEMORY, FailureCode.NETWORK)
    ]
    shell = Shell(tmp_path, Faults("hypervisor.start", 1, error=StartRefused(failures, "qemu: no")))
    async with shell.running():
        await shell.desire(an_entry())
        await shell.said(VmStartFailed)
    said = shell.facts()[-1]
    assert isinstance(said, VmStartFailed)
    assert (said.failures, said.message, said.log_tail) == (tuple(failures), "memory; network", "qemu: no")


async def test_a_disk_that_was_made_and_is_not_there_is_not_made_anew(tmp_path: Path) -> None:
    shell, entry = Shell(tmp_path), an_entry()
    disks = (Disk(name="data", size_mib=1),)
    made = {"spec": entry.spec.model_copy(update={"disks": disks}), "made_disks": ("data",)}
    async with shell.running():
        await shell.desire(entry.model_copy(update=made))
        await shell.said(VmStartFailed)
    said = shell.facts()[-1]
    assert isinstance(said, VmStartFailed)
    assert [one.code for one in said.failures] == [FailureCode.DISK_MISSING]


async def test_what_happens_to_a_guest_is_said_as_it_comes_and_not_after_its_end(tmp_path: Path) -> None:
    shell, error = Shell(tmp_path), IoError("/" + "d" * 999, "enospc", "report")
    async with shell.running():
        await shell.desire(an_entry())
        await shell.said(VmRunning)
        shell.hypervisor.touch(VM, error)
        shell.hypervisor.touch(VM, BalloonChanged(256))
        await shell.said(VmBalloonChanged)
        await shell.desire(an_entry(Desired.STOPPED))
        await shell.said(VmStopped)
        looks = shell.faults.calls["hypervisor.domain"]
        shell.hypervisor.touch(VM, error)
        await shell.until(lambda: shell.faults.calls["hypervisor.domain"] > looks, "it was looked at")
        await shell.desire(an_entry(Desired.ABSENT))
        await shell.until(lambda: not shell.left(), "the entry was forgotten")
    assert types(shell) == [*UP, "vm.io_error", "vm.balloon_changed", "vm.stopping", "vm.stopped"]
    (said,) = [one for one in shell.facts() if isinstance(one, VmIoErrorSeen)]
    assert (len(said.disk), said.reason, said.phase) == (253, "enospc", VmPhase.RUNNING)


async def test_the_disks_of_what_is_deleted_are_removed_and_said_to_be(tmp_path: Path) -> None:
    shell, entry = Shell(tmp_path), an_entry()
    spec = entry.spec.model_copy(update={"disks": (Disk(name="data", size_mib=1),)})
    async with shell.running():
        await shell.desire(entry.model_copy(update={"spec": spec}))
        await shell.said(VmRunning)
        (disk,) = (tmp_path / "guests" / "disks").glob("*/data")
        await shell.desire(an_entry(Desired.STOPPED))
        await shell.said(VmStopped)
        await shell.desire(an_entry(Desired.ABSENT))
        await shell.until(lambda: not shell.left(), "the entry was forgotten")
        assert disk.exists()
        gone = {"spec": spec, "remove_disks": True}
        await shell.desire(an_entry(Desired.ABSENT).model_copy(update=gone))
        await shell.until(lambda: not disk.exists(), "the disk was removed")
        await shell.until(lambda: "vm.disks_removed" in types(shell), "it was said")
        await shell.until(lambda: not shell.left(), "the entry was forgotten again")
    assert types(shell).count("vm.disks_removed") == 1
    booted = next(one for one in shell.facts() if isinstance(one, VmBooting))
    assert (booted.disks, booted.steps) == (("data",), tuple(Step))


async def test_of_many_guests_so_many_start_at_once_and_the_most_urgent_first(tmp_path: Path) -> None:
    shell = Shell(tmp_path, workers=16, creates_at_once=4)
    vms = [vm_id(number) for number in range(MANY)]
    urgent = vms[-10:]
    for vm in vms:
        entry = an_entry(vm=vm)
        spec = entry.spec.model_copy(update={"priority": 90 if vm in urgent else 50})
        await shell.desire(entry.model_copy(update={"spec": spec}))

    def all_said(kind: type[VmFact]) -> bool:
        mark = f'"{kind.TYPE}"'.encode()
        return sum(mark in one.body for one in shell.stream.messages) == MANY

    shell.hypervisor.gate.clear()
    async with shell.running():
        await shell.until(lambda: all_said(VmStarting), "all have begun to start")
        assert len(shell.hypervisor.order) == 4
        shell.hypervisor.gate.set()
        await shell.until(lambda: all_said(VmRunning), "all run")
    order = shell.hypervisor.order
    assert set(order[4:14]) == set(urgent)
    assert len(order) == len(set(order)) == MANY
    assert shell.hypervisor.most_at_once == 4


async def test_a_daemon_that_is_killed_between_an_action_and_its_word_says_it_once(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    async with shell.running():
        await shell.desire(an_entry())
        await shell.said(VmRunning)
    again = Shell(tmp_path, Faults("hypervisor.reset", 1, after=True, error=NoAnswer("reset")), shell.stream)
    again.consumer = shell.consumer
    async with again.running():
        await again.desire(acting(1, ActionVerb.RESET))
        await again.said(VmActionDone)
    assert done(again) == {command_id(1): 1}
    assert again.faults.calls["hypervisor.reset"] == 2
