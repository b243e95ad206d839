"""PID 1 of one lab host: private mounts, its network, virtlogd and libvirtd; ends when its owner does."""

import argparse
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from infra.lab.failure import LabFailed
from infra.lab.host_files import BOUND, BOUND_FILES, IMAGES, PREFIX_BITS, HostPlan
from infra.lab.programs import run_program, say

LINK_TIMEOUT_S = 20.0
LINK_POLL_S = 0.02
RESTART_DELAY_S = 0.2
# A daemon that ends this soon, this often in a row, will not stay up: the host gives up.
SHORT_LIFE_S = 1.0
SHORT_LIVES_MAX = 10
SIGNAL_PIPE_BYTES = 4096
DAEMONS = {
    "virtlogd": ("virtlogd", "--pid-file", "/run/libvirt/virtlogd.pid"),
    "libvirtd": ("libvirtd", "--listen", "--pid-file", "/run/libvirt/libvirtd.pid"),
}


def private_mounts(plan: HostPlan, images: Path) -> None:
    """Put the host's own folders where libvirt looks, in this mount namespace alone."""
    run_program("mount", "--make-rprivate", "/")
    # The new network namespace's own interfaces; the old mount would show the machine's.
    run_program("mount", "-t", "sysfs", "sysfs", "/sys")
    for name, target in (BOUND | BOUND_FILES).items():
        run_program("mount", "--bind", str(plan.folder / name), str(target))
    IMAGES.mkdir(exist_ok=True)
    run_program("mount", "--bind", str(images), str(IMAGES))


def join_network(address: str) -> None:
    """Bring up lo, wait for the owner to hand us eth0, give it *address*."""
    run_program("ip", "link", "set", "lo", "up")
    deadline = time.monotonic() + LINK_TIMEOUT_S
    while not Path("/sys/class/net/eth0").exists():
        if time.monotonic() > deadline:
            raise LabFailed(
                what="join the lab's network",
                why=f"no eth0 came within {LINK_TIMEOUT_S:g} s",
                hint="the owner's messages above this one",
            )
        time.sleep(LINK_POLL_S)
    run_program("ip", "address", "add", f"{address}/{PREFIX_BITS}", "dev", "eth0")
    run_program("ip", "link", "set", "eth0", "up")


class Supervisor:
    """Keeps the daemons running, reaps whatever ends, and returns when the owner is gone."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._names: dict[int, str] = {}
        self._started: dict[str, float] = {}
        self._restart_at: dict[str, float] = {}
        self._short_lives = dict.fromkeys(DAEMONS, 0)

    def run(self, lifeline: int) -> None:
        """Supervise until *lifeline* reads end of file, which is the owner's death or its wish."""
        woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        for name in DAEMONS:
            self._start(name)
        while True:
            readable, _, _ = select.select([lifeline, woken], [], [], self._pause_s())
            if lifeline in readable:
                return
            if woken in readable:
                os.read(woken, SIGNAL_PIPE_BYTES)
            self._reap()
            for name in [name for name, when in self._restart_at.items() if when <= time.monotonic()]:
                del self._restart_at[name]
                self._start(name)

    def _pause_s(self) -> float | None:
        """Say how long until the next restart; None when no daemon is down."""
        if not self._restart_at:
            return None
        return max(0.0, min(self._restart_at.values()) - time.monotonic())

    def _start(self, name: str) -> None:
        # A session of its own: Ctrl-C in the owner's terminal must not reach the daemons before the owner.
        daemon = subprocess.Popen(
            DAEMONS[name], stdin=subprocess.DEVNULL, stdout=sys.stderr, start_new_session=True
        )
        self._names[daemon.pid] = name
        self._started[name] = time.monotonic()
        # PID 1 reaps by itself: the object must not wait for the same pid.
        daemon.returncode = 0

    def _reap(self) -> None:
        """Collect every ended process; QEMU daemonizes into PID 1's arms."""
        while True:  # As many times as there are ended children, and once more.
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self._names:
                self._ended(self._names.pop(pid), status)

    def _ended(self, name: str, status: int) -> None:
        now = time.monotonic()
        code = os.waitstatus_to_exitcode(status)
        # Killed is no failure of its own: that is what labs are for.
        short = now - self._started[name] < SHORT_LIFE_S and code != -signal.SIGKILL
        self._short_lives[name] = self._short_lives[name] + 1 if short else 0
        if self._short_lives[name] >= SHORT_LIVES_MAX:
            raise LabFailed(
                what=f"keep {name} running on {self._host}",
                why=f"it ended {SHORT_LIVES_MAX} times in a row within {SHORT_LIFE_S:g} s",
                hint=f"the last lines of its log, log/{name}.log in the host's folder",
            )
        say(f"{self._host}: {name} ended with {code}, starting it again in {RESTART_DELAY_S:g} s")
        self._restart_at[name] = now + RESTART_DELAY_S


def main() -> int:
    """Be the init of one host."""
    parser = argparse.ArgumentParser(prog="python -m infra.lab.host", description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--run-id", required=True)
    parser.add_argument("--number", type=int, required=True)
    parser.add_argument("--images", type=Path, required=True)
    options = parser.parse_args()
    # Ctrl-C in the owner's terminal reaches us too; it is the owner who decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    plan = HostPlan(options.run, options.run_id, options.number)
    try:
        socket.sethostname(plan.hostname)
        private_mounts(plan, options.images)
        join_network(plan.address)
        Supervisor(plan.name).run(sys.stdin.fileno())
    except LabFailed as err:
        say(f"{plan.name}: {err}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
