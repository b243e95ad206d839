"""Killing a lab's owner leaves nothing behind but a folder, which the next lab sweeps."""

import os
import signal
from pathlib import Path

import pytest

from infra.lab.lab import Lab
from infra.lab.processes import Process, arguments, namespace, processes
from tests.integration.lab.tiny import start_tiny
from tests.support.eventually import eventually

GONE_TIMEOUT_S = 10.0
NAMESPACE_KINDS = ("mnt", "net", "pid", "uts")


def family(pid: int) -> list[Process]:
    """List *pid* and all its descendants."""
    everyone = processes()
    found = [one for one in everyone if one.pid == pid]
    for parent in found:  # Grows while we walk it; a process has one parent, so it ends.
        found += [one for one in everyone if one.parent == parent.pid]
    return found


def namespaces(of: list[Process] | tuple[Process, ...]) -> set[tuple[str, int]]:
    """Collect the namespaces of some processes, but not those that this test is in."""
    return {
        (kind, inode)
        for one in of
        for kind in NAMESPACE_KINDS
        if (inode := namespace(one.pid, kind)) not in {None, namespace(os.getpid(), kind)}
    }


def machine_links() -> list[str]:
    """List the network links of the machine's own namespace."""
    return sorted(line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()[2:])


@pytest.mark.drives_processes
async def test_killing_the_owners_group_leaves_nothing(images: Path) -> None:
    links = machine_links()
    lab = await Lab.start(images=images, hosts=2)
    await start_tiny(lab, "host-2", name="orphan", image=images / "tiny")
    members = family(lab.owner_pid)
    made = namespaces(members)
    # Two hosts have one of each; the switch has a network alone.
    assert sorted(kind for kind, _ in made) == ["mnt", "mnt", "net", "net", "net", "pid", "pid", "uts", "uts"]
    assert lab.qemu_pids("host-2")[0] in {member.pid for member in members}
    assert machine_links() == links
    assert lab.run.name not in Path("/proc/self/mountinfo").read_text()

    os.killpg(lab.owner_pid, signal.SIGKILL)

    async def gone() -> bool:
        left = processes()
        return not made & namespaces(left) and not set(members) & set(left)

    await eventually(gone, "the lab's processes and namespaces to vanish", GONE_TIMEOUT_S)
    assert not [one for one in processes() if any(str(lab.run) in text for text in arguments(one.pid))]
    assert machine_links() == links
    assert lab.run.name not in Path("/proc/self/mountinfo").read_text()
    await lab.stop()  # Nothing is left to stop, and that is no error.

    assert lab.run.exists()
    async with await Lab.start(images=images, hosts=1):
        assert not lab.run.exists()
