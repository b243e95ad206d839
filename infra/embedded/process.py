"""Start a server that dies with us, wait until it answers, stop it in order."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import SystemRandom

from infra.runtime.errors import Unavailable

POLL_S = 0.02
STOP_TIMEOUT_S = 10.0
LOG_TAIL = 20
PORTS_TRIED = 100
PORTS = range(20_000, 32_000)
"""Below those that Linux gives to outgoing connections: one of them may be taken before it is listened on."""
_turn = count(SystemRandom().randrange(len(PORTS)))


@dataclass
class Process:
    """A child of ours; *log* holds what it said."""

    name: str
    popen: "subprocess.Popen[bytes]"
    log: Path
    stop_signal: signal.Signals

    def stop(self) -> None:
        """Ask it to end, wait for a bounded time, kill it if it does not."""
        if self.popen.poll() is None:
            self.popen.send_signal(self.stop_signal)
            try:
                self.popen.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self.popen.kill()
        self.popen.wait(STOP_TIMEOUT_S)

    def wait_until(self, ready: Callable[[], bool], timeout_s: float) -> None:
        """Wait until *ready*; raises Unavailable with the tail of its log if it ends or takes too long."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            code = self.popen.poll()
            if code is not None or time.monotonic() > deadline:
                why = f"ended with {code}" if code is not None else f"not ready after {timeout_s:g} s"
                tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_TAIL:])
                self.stop()
                raise Unavailable(self.name, f"{why}; the end of {self.log}:\n{tail}")
            time.sleep(POLL_S)


@dataclass(frozen=True)
class As:
    """The user that a server runs as; 0 is never it."""

    uid: int
    gid: int


def start(
    name: str,
    args: Sequence[str],
    *,
    log: Path,
    stop_signal: signal.Signals = signal.SIGTERM,
    user: As | None = None,
    env: Mapping[str, str] | None = None,
) -> Process:
    """Start *args* so that the kernel ends it when this process ends, however it ends.

    To be called from the main thread: the kernel watches the thread that forks.
    """
    guard = ["setpriv", "--pdeathsig", stop_signal.name.removeprefix("SIG")]
    if user is not None:
        guard += [f"--reuid={user.uid}", f"--regid={user.gid}", "--clear-groups"]
    with log.open("ab") as sink:
        popen = subprocess.Popen(
            [*guard, *args],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            start_new_session=True,  # Ctrl-C reaches us alone; we stop the others in order
        )
    return Process(name, popen, log, stop_signal)


def free_port(preferred: int = 0) -> int:
    """Give *preferred* or the next port that nobody listens on; without a wish another of PORTS each time."""
    anywhere = (PORTS[next(_turn) % len(PORTS)] for _ in range(PORTS_TRIED))
    for port in range(preferred, preferred + PORTS_TRIED) if preferred else anywhere:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    first, last = (preferred, preferred + PORTS_TRIED - 1) if preferred else (PORTS[0], PORTS[-1])
    raise Unavailable("loopback", f"{PORTS_TRIED} ports from {first} to {last} are all in use")


def answers(port: int) -> bool:
    """Tell whether someone accepts connections on loopback *port*."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0
