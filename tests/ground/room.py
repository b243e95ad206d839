"""Namespaces of our own around a root folder: whatever is started or mounted in them ends with them."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

STEP_TIMEOUT_S = 60.0
FOLDERS = Path("/var/tmp")  # noqa: S108 - each has a folder of its own there, made for it alone
"""A whole root is too large for a /tmp in memory."""
NODES = ("null", "zero", "full", "random", "urandom", "tty", "kvm", "fuse", "net", "loop-control")
LOOPS = 8
HOLD = 'mount --make-rshared / && echo up && trap "" CHLD && exec cat'
"""Shared among themselves, as on a machine with systemd: a mount that is not made private will show.
`cat` holds the namespaces until its stdin ends, at the latest when we do. With SIGCHLD ignored it leaves no
zombie of the orphans that it inherits."""


class RoomFailed(Exception):
    """Say what could not be done in the room, and why."""


class Room:
    """Mount, PID, IPC, UTS and perhaps network namespaces; *root* is what programs in it see as `/`."""

    def __init__(self, root: Path, *, network: bool) -> None:
        """Make the namespaces; *network* gives them an own network with loopback alone."""
        self.root = root
        kinds = ["--mount", "--pid", "--ipc", "--uts", *(["--net"] if network else [])]
        self._holder = subprocess.Popen(
            [
                *("unshare", *kinds, "--fork", "--kill-child=KILL"),
                *("--propagation", "private", "sh", "-c", HOLD),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C reaches us alone, and we end the room
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"up\n":
            self.close()
            raise RoomFailed("no namespaces of our own: be root, on a machine or in a privileged container")
        self.pid = int(Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children").read_text())
        # -r: entering a mount namespace leads to its own root, out of the one that we may have been given.
        entered = ("-r", "-m", "-p", "-i", "-u", *(["-n"] if network else []))
        self._enter = ("nsenter", "-t", str(self.pid), *entered)
        if network:
            self.outside("ip", "link", "set", "lo", "up")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every process of the room; its mounts go with the last one."""
        self._holder.kill()
        self._holder.communicate()

    def command(self, *args: str, within: bool) -> list[str]:
        """Give the command that runs *args* in the room: within its root, or seeing the machine's files."""
        return [*self._enter, *(("chroot", str(self.root)) if within else ()), *args]

    def outside(self, *args: str, timeout_s: float = STEP_TIMEOUT_S) -> str:
        """Run *args* in the namespaces, but with the machine's own files, and give what it prints."""
        return run(self.command(*args, within=False), timeout_s=timeout_s)

    def inside(self, *args: str, timeout_s: float = STEP_TIMEOUT_S) -> str:
        """Run *args* within the root and give what it prints."""
        return run(self.command(*args, within=True), timeout_s=timeout_s)

    def seen(self, path: str) -> Path:
        """Say where this process finds what the room's programs call *path* (absolute)."""
        return Path(f"/proc/{self.pid}/root{self.root}{path}")

    def furnish(self) -> None:
        """Mount /proc, /sys and a /dev of the room's own: no node of the machine's is made or changed."""
        dev = self.root / "dev"
        self.outside("mount", "-t", "proc", "proc", str(self.root / "proc"))
        self.outside("mount", "-t", "sysfs", "sysfs", str(self.root / "sys"))
        self.outside("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(dev))
        names = [*NODES, *(f"loop{number}" for number in range(LOOPS))]
        nodes = [str(Path("/dev", name)) for name in names if Path("/dev", name).exists()]
        self.outside("cp", "-a", *nodes, str(dev))
        self.outside("mkdir", str(dev / "pts"), str(dev / "shm"))
        self.outside("mount", "-t", "devpts", "-o", "newinstance,ptmxmode=666", "devpts", str(dev / "pts"))
        self.outside("mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", str(dev / "shm"))
        for name, target in {"ptmx": "pts/ptmx", "fd": "/proc/self/fd"}.items():
            self.outside("ln", "-s", target, str(dev / name))


def run(args: Sequence[str], *, timeout_s: float, env: Mapping[str, str] | None = None) -> str:
    """Run a program to its end and give what it prints; raises RoomFailed with its own words."""
    try:
        done = subprocess.run(
            args,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env={**os.environ, "LC_ALL": "C", **(env or {})},
        )
    except subprocess.TimeoutExpired as err:
        raise RoomFailed(f"{' '.join(args)}: no end within {timeout_s:g} s") from err
    if done.returncode != 0:
        raise RoomFailed(f"{' '.join(args)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def stoppable(main: Callable[[], int]) -> None:
    """Run *main* as the program; a signal becomes Ctrl-C, so that what was made is removed."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    try:
        sys.exit(main())
    except RoomFailed as err:
        sys.exit(f"error: {err}")
    except KeyboardInterrupt:
        sys.exit("interrupted; everything that was made has been removed")
