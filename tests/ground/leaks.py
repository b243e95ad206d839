"""Show what a run leaves on the machine: `make leaks`, or `make leaks RUN="command"`.

Each run happens three times on a copy of this machine that it cannot leave: to its end; until the middle,
where its process group is killed; and to its end again. After an end nothing may be left. After a kill only
files may be: the kernel takes down the rest, and the third run removes the files.
"""

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.ground.picture import KEPT, Difference, Picture, differences, processes, table, take
from tests.ground.room import RoomFailed, run, stoppable
from tests.ground.world import World, world
from tests.support.eventually import eventually

ROOT = Path(__file__).parents[2]
RUN_TIMEOUT_S = 1800.0
GONE_TIMEOUT_S = 15.0
"""A killed run's processes end one after the other, each when its parent has."""
BUILD_TIMEOUT_S = 600.0
TAIL_CHARS = 3000
RUNS = ("make demo", ".venv/bin/python -m pytest -q tests/e2e")


def leaks(command: str) -> list[tuple[str, Difference]]:
    """Run *command* three times in a world of its own; give what was left, and when."""
    found: list[tuple[str, Difference]] = []
    with world() as ours:
        before = take(ours, ROOT)

        def look(when: str, *, files: bool) -> None:
            left = differences(before, settled(ours))
            say(
                f"{when}: {len(left)} left"
                + (" (files may be, until the next run)" if left and not files else "")
            )
            if left:
                print(table(left), flush=True)
            found.extend((when, one) for one in left if files or one.kind != "files")

        began = time.monotonic()
        to_its_end(ours, command)
        took_s = time.monotonic() - began
        look(f"after its end ({took_s:.1f} s)", files=True)
        killed(ours, command, took_s / 2)
        look(f"killed after {took_s / 2:.1f} s", files=False)
        to_its_end(ours, command)
        look("after the end of the next run", files=True)
    return found


def to_its_end(ours: World, command: str) -> None:
    """Run *command*; raises RoomFailed with the end of what it said when it fails."""
    with tempfile.TemporaryFile() as said:
        with running(ours, command, said.fileno()) as process:
            code = process.wait(RUN_TIMEOUT_S)
        if code != 0:
            said.seek(0)
            tail = said.read().decode(errors="replace")[-TAIL_CHARS:]
            raise RoomFailed(f"`{command}` itself ended with {code}:\n{tail}")


def killed(ours: World, command: str, after_s: float) -> None:
    """Run *command* and kill its process group after *after_s*; raises RoomFailed if it has ended before."""
    with running(ours, command, subprocess.DEVNULL) as process, suppress(subprocess.TimeoutExpired):
        process.wait(after_s)
        raise RoomFailed(f"`{command}` had ended within {after_s:.1f} s, before it could be killed")


@contextmanager
def running(ours: World, command: str, said: int) -> Iterator["subprocess.Popen[bytes]"]:
    """Run *command* in the working copy as its world shows it; at the end its process group is killed."""
    with subprocess.Popen(
        ours.room.command("env", "-C", str(ROOT), "sh", "-c", command, within=True),
        stdin=subprocess.DEVNULL,
        stdout=said,
        stderr=said,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def settled(ours: World) -> Picture:
    """Take the picture when the last process is gone, or when it has had long enough."""
    with suppress(AssertionError):
        asyncio.run(eventually(lambda: not processes(ours), "every process gone", GONE_TIMEOUT_S))
    return take(ours, ROOT)


def say(line: str) -> None:
    """Tell what is being done."""
    print(f"leaks: {line}", flush=True)


def warm() -> None:
    """Download what the tiny guest is made of, once: a run's world has no network but its own."""
    with tempfile.TemporaryDirectory(prefix="roost-leaks-") as out:
        run([sys.executable, "-m", "infra.lab.guest", "--out", out], timeout_s=BUILD_TIMEOUT_S)


def main(argv: Sequence[str] | None = None) -> int:
    """Run what was asked for, and sum up; end with 1 if anything is left."""
    parser = argparse.ArgumentParser(prog="make leaks", description=__doc__)
    parser.add_argument("--run", metavar="COMMAND", help=f"instead of: {'; '.join(RUNS)}")
    command = parser.parse_args(argv).run
    if os.geteuid() != 0:
        raise RoomFailed("only root can make namespaces; try: sudo make leaks")
    if command is None:
        warm()
    found = []
    for one in [command] if command else RUNS:
        say(f"`{one}`")
        found += [(one, when, left) for when, left in leaks(one)]
    print("\nKept on purpose, and not counted: what the working copy holds, and")
    print("\n".join(f"  {path:<24}{why}" for path, why in KEPT.items()))
    print(f"\n{len(found)} left behind" if found else "\nNothing is left.", flush=True)
    return 1 if found else 0


if __name__ == "__main__":
    stoppable(main)
