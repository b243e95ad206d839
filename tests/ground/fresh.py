"""Show that a Debian 12 with nothing on it is enough: `make fresh` (ONLY=demo for the short form).

A minimal Debian is made in a folder, in namespaces of its own; the last commit is cloned into it; a
newcomer's commands run there. The network is this machine's; apt's and pip's settings and the certificates
are taken over as they are. In the end all of it is removed.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from infra.dev.folders import scratch
from tests.ground.machine import Taken, taken_over
from tests.ground.room import FOLDERS, Room, RoomFailed, run, stoppable

SUITE = "bookworm"
WITH = "ca-certificates,git,make,python3"
"""What README.md asks a newcomer for."""
HOME = Path("/root")
ROOT = Path(__file__).parents[2]
PREFIX = "roost-fresh-"
INSTALL_TIMEOUT_S = 300.0
DEBOOTSTRAP_TIMEOUT_S = 1200.0
STEP_TIMEOUT_S = 3600.0
NEWCOMERS = {"demo": ("make", "demo"), "test": ("make", "test")}


@dataclass
class Report:
    """The steps that were done, each with its seconds."""

    began: float = field(default_factory=time.monotonic)
    rows: list[tuple[str, str, float]] = field(default_factory=list)

    def step(self, name: str, work: Callable[[], None]) -> None:
        """Do one step and note how it ended."""
        self.say(f"{name} ...")
        began = time.monotonic()
        result = "failed"
        try:
            work()
            result = "ok"
        except KeyboardInterrupt:
            result = "interrupted"
            raise
        finally:
            self.rows.append((name, result, time.monotonic() - began))

    def say(self, line: str) -> None:
        """Print a line with the seconds since the beginning."""
        print(f"[{time.monotonic() - self.began:6.1f} s] {line}", flush=True)

    def table(self) -> str:
        """Sum up: one row a step."""
        width = max(len(name) for name, _, _ in self.rows)
        lines = [f"  {'STEP':<{width}}  RESULT       SECONDS"]
        lines += [f"  {name:<{width}}  {result:<11}  {seconds:7.1f}" for name, result, seconds in self.rows]
        return "\n".join(lines)


def fresh(root: Path, report: Report, wanted: list[str]) -> None:
    """Make the machine in *root* and be the newcomer; raises RoomFailed with the step's own words."""
    taken = taken_over()
    uncommitted = run(["git", "-C", str(ROOT), "status", "--porcelain"], timeout_s=60)
    if uncommitted:
        report.say(
            f"{len(uncommitted.splitlines())} files differ from the last commit, which is what is tried"
        )
    with Room(root, network=False) as room:
        room.outside("mount", "--bind", str(root), str(root))
        report.step(f"debootstrap {SUITE}", lambda: debootstrap(room, taken))
        report.step("settings of this machine", lambda: settle(room, taken))
        report.step("git clone", lambda: clone(room))
        for name in wanted:
            report.step(" ".join(NEWCOMERS[name]), lambda name=name: newcomer(room, taken, report, name))  # type: ignore[misc]


def debootstrap(room: Room, taken: Taken) -> None:
    """Make a minimal Debian from the archive that apt uses here."""
    if shutil.which("debootstrap") is None:
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        run(["apt-get", "-qq", "update"], timeout_s=INSTALL_TIMEOUT_S, env=quiet)
        install = ["apt-get", "-qq", "-y", "--no-install-recommends", "install", "debootstrap"]
        run(install, timeout_s=INSTALL_TIMEOUT_S, env=quiet)
    room.outside(
        *("env", *taken.proxies, "debootstrap", "--variant=minbase", f"--include={WITH}"),
        *(SUITE, str(room.root), taken.archive(SUITE)),
        timeout_s=DEBOOTSTRAP_TIMEOUT_S,
    )


def settle(room: Room, taken: Taken) -> None:
    """Take over what this machine knows of package sources and certificates; mount what programs need."""
    room.furnish()
    # What is installed may set kernel parameters; here they would be the machine's.
    sysctls = str(room.root / "proc/sys")
    room.outside("mount", "--bind", sysctls, sysctls)
    room.outside("mount", "-o", "remount,bind,ro", sysctls)
    room.outside("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(room.root / "run"))
    for source, target in taken.copied.items():
        inside = room.root / target.relative_to("/")
        inside.parent.mkdir(parents=True, exist_ok=True)
        room.outside("rm", "-rf", str(inside))
        room.outside("cp", "-aL", str(source), str(inside))
    for folder in taken.bound:
        inside = room.root / folder.relative_to("/")
        inside.mkdir(parents=True, exist_ok=True)
        room.outside("mount", "--bind", str(folder), str(inside))
        room.outside("mount", "-o", "remount,bind,ro", str(inside))
    room.inside("update-ca-certificates")


def clone(room: Room) -> None:
    """Clone the last commit of this working copy to the newcomer's home."""
    target = room.root / HOME.relative_to("/") / "roost"
    run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(target)], timeout_s=INSTALL_TIMEOUT_S)


def newcomer(room: Room, taken: Taken, report: Report, name: str) -> None:
    """Run one command in the clone, in a newcomer's environment, and show what it says as it says it."""
    env = {"HOME": str(HOME), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", **taken.environment}
    words = ["env", "-i", "-C", str(HOME / "roost"), *(f"{key}={value}" for key, value in env.items())]
    command = room.command(*words, *NEWCOMERS[name], within=True)
    bounded = ["timeout", f"{STEP_TIMEOUT_S:g}", *command]
    with (
        subprocess.Popen(
            bounded,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches us alone
            text=True,
            errors="replace",
        ) as process,
        ExitStack() as undo,
    ):
        undo.callback(room.close)  # with it ends what we would wait for
        assert process.stdout is not None
        for line in process.stdout:
            report.say(f"{name} | {line.rstrip()}")
        undo.pop_all()
    if process.returncode != 0:
        raise RoomFailed(f"{' '.join(NEWCOMERS[name])} ended with {process.returncode}, see above")


def main() -> int:
    """Make, try, remove, and sum up."""
    parser = argparse.ArgumentParser(prog="make fresh", description=__doc__)
    parser.add_argument("--only", choices=NEWCOMERS, help="this command alone")
    only = parser.parse_args().only
    if os.geteuid() != 0:
        raise RoomFailed("only root can make a root folder and namespaces; try: sudo make fresh")
    report = Report()
    try:
        with scratch(PREFIX, FOLDERS) as folder:
            root = folder / "root"
            root.mkdir()
            fresh(root, report, [only] if only else list(NEWCOMERS))
    except RoomFailed as err:
        print(f"error: {err}", file=sys.stderr)
        return 1
    finally:
        report.say("everything that was made has been removed")
        if report.rows:
            print(f"\n{report.table()}", flush=True)
    return 0


if __name__ == "__main__":
    stoppable(main)
