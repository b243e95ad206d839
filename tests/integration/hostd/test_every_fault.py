"""Every call of every port fails once, before or after it came true: the daemon ends where it would have."""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from events import subjects
from events.facts import (
    VmActionDone,
    VmAgentConnected,
    VmAgentGone,
    VmDisksRemoved,
    VmNotResponding,
    VmPaused,
    VmRebooted,
    VmResponding,
    VmResumed,
)
from infra.runtime.errors import Unavailable
from services.hostd import handler
from services.hostd.core import reconcile
from services.hostd.hypervisor.port import Hypervisor, NoAnswer
from tests.support.builders import HOST, command_id
from tests.unit.hostd.shell import ACTIONS, GRACE_S, LIFE, Faults, Shell, live, live_fully

BY_CHANCE = {
    "desired.fetch",
    "hypervisor.agent_answers",
    "hypervisor.ask_reboot",
    "hypervisor.domain",
    "journal.entry",
    "journal.note",
    "journal.outgoing",
    "journal.published",
    "journal.vm_ids",
    "signals.send",
}
"""Called as often as time has it: the first so many calls of each are tried, if they come to pass."""
BY_CHANCE_MAX = 6
SELDOM = {"journal.note", "hypervisor.power_off"}
"""Called where a guest does not go by itself."""
VERBS = {"ask_reboot", "pause", "remove_disks", "reset", "resume", "update"}
"""Called where more is asked of a guest than to start and to stop."""
CALLS_OF_VERBS = {f"hypervisor.{name}" for name in VERBS} | {"journal.note"}
AGENT = VmAgentConnected | VmAgentGone | VmNotResponding | VmResponding | VmRebooted
"""Said as often as time has it; a reset that was not answered is done again."""
ALL = Counter([*LIFE, VmPaused, VmResumed, *[VmActionDone] * len(ACTIONS), VmDisksRemoved])
AT_ONCE = 32
"""Lives side by side: each has threads of its own, and all share one interpreter."""
UNTOUCHED = {"close", "monitor_answers", "statistics"}
"""Called at the daemon's own end, after a call without an answer, and by another clock."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask a guest again soon that was asked while it was booting, or gave no answer."""
    monkeypatch.setattr(reconcile, "REBOOT_AGAIN_S", 1.0)
    monkeypatch.setattr(handler, "NO_ANSWER_S", 1.0)


@dataclass
class Lives:
    """Lives side by side, of which any that comes to harm ends all."""

    group: asyncio.TaskGroup
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    def begin(self, life: Coroutine[Any, Any, None]) -> None:
        """Have one lived when it has its turn."""
        self.group.create_task(self._live(life))

    async def _live(self, life: Coroutine[Any, Any, None]) -> None:
        async with self.turns:
            await life


async def outlives(folder: Path, faults: Faults, grace_s: float) -> None:
    """Live with a fault and find nothing missing, nothing doubled, nothing done twice."""
    shell = Shell(folder, faults)
    await live(shell, grace_s)
    fault = see_no_harm(shell)
    assert [type(one) for one in shell.facts()] == LIFE, fault


async def outlives_verbs(folder: Path, faults: Faults) -> None:
    """The same, with every verb asked for once between the start and the stop."""
    shell = Shell(folder, faults)
    await live_fully(shell)
    fault = see_no_harm(shell)
    facts = [one for one in shell.facts() if not isinstance(one, AGENT)]
    assert Counter(type(one) for one in facts) == ALL, fault
    done = [one.token for one in facts if isinstance(one, VmActionDone)]
    assert done == [command_id(number) for number in range(1, 1 + len(ACTIONS))], fault
    assert [type(one) for one in facts if type(one) in LIFE] == LIFE, fault


def see_no_harm(shell: Shell) -> str:
    """See what holds whatever was asked for; give the fault in words."""
    faults = shell.faults
    fault = f"{faults.at} {faults.number}, after={faults.after}"
    assert faults.at in BY_CHANCE or faults.calls[faults.at] >= faults.number, f"{fault} never came to pass"
    assert len(shell.facts(subjects.host_fact(HOST))) == 1, fault
    assert shell.hypervisor.made == 1, fault
    ids = [one.event_id for one in shell.stream.messages]
    assert len(set(ids)) == len(ids), fault
    return fault


def steps_of(clean: Faults) -> list[tuple[str, int]]:
    """Name every call that a life without a fault has made."""
    return [
        (name, number)
        for name, count in sorted(clean.calls.items())
        for number in range(1, min(count, BY_CHANCE_MAX if name in BY_CHANCE else count) + 1)
    ]


@pytest.mark.parametrize("grace_s", [GRACE_S, 0.0])
async def test_a_fault_of_any_port_at_any_call_changes_nothing_in_the_end(
    grace_s: float, tmp_path: Path
) -> None:
    clean = Faults()
    await outlives(tmp_path / "clean", clean, grace_s)
    async with asyncio.TaskGroup() as group:
        lives = Lives(group)
        for name, number in steps_of(clean):
            if grace_s < GRACE_S and name not in SELDOM:
                continue  # The rest is the same.
            for after in (False, True):
                faults = Faults(name, number, after, Unavailable(name, "it was asked to fail"))
                folder = tmp_path / f"{name}-{number}-{after}"
                lives.begin(outlives(folder, faults, grace_s))


async def test_a_fault_at_any_call_of_a_verb_changes_nothing_in_the_end(tmp_path: Path) -> None:
    clean = Faults()
    await outlives_verbs(tmp_path / "clean", clean)
    steps = [(name, number) for name, number in steps_of(clean) if name in CALLS_OF_VERBS]
    assert {name for name, _ in steps} == CALLS_OF_VERBS
    async with asyncio.TaskGroup() as group:
        lives = Lives(group)
        for name, number in steps:
            for after in (False, True):
                for error in (Unavailable(name, "it was asked to fail"), NoAnswer(name)):
                    if isinstance(error, NoAnswer) and not name.startswith("hypervisor."):
                        continue
                    faults = Faults(name, number, after, error)
                    folder = tmp_path / f"{name}-{number}-{after}-{type(error).__name__}"
                    lives.begin(outlives_verbs(folder, faults))


async def test_every_call_of_the_hypervisor_is_made_to_fail(tmp_path: Path) -> None:
    ports = {name for name in vars(Hypervisor) if not name.startswith("_")}
    fully, forced = Faults(), Faults()
    await outlives_verbs(tmp_path / "fully", fully)
    await outlives(tmp_path / "forced", forced, 0.0)
    called = {name.partition(".")[2] for name in fully.calls | forced.calls if name.startswith("hypervisor.")}
    assert called == ports - UNTOUCHED
