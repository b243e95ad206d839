"""Every call of every port fails once, before or after it came true: the daemon ends where it would have."""

import asyncio
from pathlib import Path

import pytest

from events import subjects
from infra.runtime.errors import Unavailable
from tests.support.builders import HOST
from tests.unit.hostd.shell import GRACE_S, LIFE, Faults, Shell, live

BY_CHANCE = {
    "desired.fetch",
    "hypervisor.agent_answers",
    "hypervisor.domain",
    "journal.entry",
    "journal.outgoing",
    "journal.published",
    "journal.vm_ids",
    "signals.send",
}
"""Called as often as time has it: the first so many calls of each are tried, if they come to pass."""
BY_CHANCE_MAX = 6
SELDOM = {"journal.forcing", "hypervisor.power_off"}
"""Called where a guest does not go by itself."""


async def outlives(folder: Path, faults: Faults, grace_s: float) -> None:
    """Live with a fault and find nothing missing, nothing doubled, nothing done twice."""
    shell = Shell(folder, faults)
    await live(shell, grace_s)
    fault = f"{faults.at} {faults.number}, after={faults.after}"
    assert faults.at in BY_CHANCE or faults.calls[faults.at] >= faults.number, f"{fault} never came to pass"
    assert [type(one) for one in shell.facts()] == LIFE, fault
    assert len(shell.facts(subjects.host_fact(HOST))) == 1, fault
    assert shell.hypervisor.made == 1, fault
    ids = [one.event_id for one in shell.stream.messages]
    assert len(set(ids)) == len(ids), fault


@pytest.mark.parametrize("grace_s", [GRACE_S, 0.0])
async def test_a_fault_of_any_port_at_any_call_changes_nothing_in_the_end(
    grace_s: float, tmp_path: Path
) -> None:
    clean = Faults()
    await outlives(tmp_path / "clean", clean, grace_s)
    steps = [
        (name, number)
        for name, count in sorted(clean.calls.items())
        for number in range(1, min(count, BY_CHANCE_MAX if name in BY_CHANCE else count) + 1)
        if grace_s == GRACE_S or name in SELDOM  # the rest is the same
    ]
    async with asyncio.TaskGroup() as group:
        for name, number in steps:
            for after in (False, True):
                faults = Faults(name, number, after, Unavailable(name, "it was asked to fail"))
                folder = tmp_path / f"{name}-{number}-{after}"
                group.create_task(outlives(folder, faults, grace_s))
