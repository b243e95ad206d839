"""A leak of every kind is planted and found; what others do at the same time is not taken for one."""

import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from infra.dev.folders import scratch
from infra.lab.processes import arguments, processes
from tests.ground.leaks import killed, leaks, settled, to_its_end
from tests.ground.picture import KINDS, differences, take
from tests.ground.room import FOLDERS, RoomFailed
from tests.ground.world import world
from tests.support.eventually import eventually

ROOT = Path(__file__).parents[3]
PLANT = """\
setsid unshare --net sleep 300 > /dev/null 2>&1 &
mkdir /mnt/left && mount -t tmpfs left /mnt/left
ip link add left0 type bridge
nft add table inet left
echo 'left:x:4242:4242::/:/bin/false' >> /etc/passwd
chmod 0700 /srv
truncate -s 1M /tmp/left && losetup -f /tmp/left
sysctl -qw net.ipv4.ip_forward=1
ipcmk -M 4096 > /dev/null
"""
FOUND = {
    "processes": "sleep 300",
    "namespaces": "net:[",
    "mounts": "/mnt/left",
    "links": "left0",
    "firewall": "table inet left",
    "users": "passwd left",
    "modes": "/srv 0755 0:0 -> 0700 0:0",
    "files": "/tmp/left new",  # noqa: S108
    "loop devices": "/tmp/left",  # noqa: S108
    "kernel parameters": "net.ipv4.ip_forward 0 -> 1",
    "shared memory": "shm ",
}


def test_a_leak_of_every_kind_is_found_and_none_reaches_the_machine() -> None:
    with world() as ours:
        before = take(ours, ROOT)
        ours.room.inside("sh", "-ec", PLANT)
        left = differences(before, take(ours, ROOT))
    assert FOUND.keys() == set(KINDS)
    for kind, what in FOUND.items():
        assert any(what in one.what for one in left if one.kind == kind), f"{kind} not found in {left}"
    assert "/mnt/left" not in Path("/proc/self/mountinfo").read_text()
    assert "left0" not in Path("/proc/net/dev").read_text()
    assert "left:" not in Path("/etc/passwd").read_text()
    loops = subprocess.run(["losetup", "-l"], capture_output=True, text=True, check=True, timeout=10).stdout
    assert "/tmp/left" not in loops  # noqa: S108


def test_what_others_do_meanwhile_is_not_taken_for_a_leak() -> None:
    with world() as ours:
        before = take(ours, ROOT)
        other = subprocess.Popen(["unshare", "--mount", "--net", "sleep", "60"])
        try:
            with tempfile.NamedTemporaryFile(dir="/var/tmp", prefix="of-others-"):
                to_its_end(ours, "true")
                assert differences(before, take(ours, ROOT)) == []
        finally:
            other.kill()
            other.wait()


def test_a_file_that_no_later_run_removes_is_a_leak() -> None:
    found = leaks("sleep 3; touch /var/tmp/left-$$")
    assert {one.what.partition("-")[0] for _, one in found} == {"/var/tmp/left"}  # noqa: S108
    assert [when.partition(" (")[0] for when, _ in found][-2:] == ["after the end of the next run"] * 2


def test_a_killed_run_is_killed_in_the_middle() -> None:
    with world() as ours:
        killed(ours, "touch /tmp/begun; sleep 60; touch /tmp/ended", after_s=3.0)
        files = settled(ours)["files"]
        assert "/tmp/begun" in files  # noqa: S108
        assert "/tmp/ended" not in files  # noqa: S108
        with pytest.raises(RoomFailed, match="before it could be killed"):
            killed(ours, "true", after_s=20.0)


def test_a_run_that_fails_is_a_failure_with_its_words() -> None:
    with world() as ours, pytest.raises(RoomFailed, match="the reason"):
        to_its_end(ours, "echo the reason; exit 3")


async def test_a_killed_observer_leaves_no_process() -> None:
    marker = f"61{os.getpid()}"
    script = f"from tests.ground.leaks import leaks; leaks('sleep {marker}')"
    observer = await asyncio.create_subprocess_exec(sys.executable, "-c", script, cwd=ROOT)

    def observed() -> bool:
        return any(arguments(one.pid) == ("sleep", marker) for one in processes())

    await eventually(observed, "the run has begun")
    observer.kill()
    await observer.wait()
    await eventually(lambda: not observed(), "the run is gone with its observer")
    with scratch("roost-leaks-", FOLDERS):
        pass  # removes the folder of the killed one
