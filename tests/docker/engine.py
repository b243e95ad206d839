"""A Docker engine of our own that leaves the machine as it was.

It lives in a mount and a PID namespace of its own: every mount and every process of it and its containers
ends with it, however it ends. It makes no bridge and touches no packet filter: containers use the machine's
own network. Other engines, and the lab of libvirt hosts, do not notice it.
"""

import hashlib
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from os import geteuid, kill
from pathlib import Path

from infra.embedded.process import Process, start

ROOT = Path(__file__).parents[2]
NAME = f"roost-docker-{hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]}"
FOLDER = Path(tempfile.gettempdir()) / NAME
"""Always the same for one clone: what a killed run left is found. Short, because sockets lie in it."""
CGROUPS = Path("/sys/fs/cgroup")
READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
HIDDEN = ("/run", "/etc/docker", "/opt")
"""Where an engine writes whatever its options say; it sees empty folders there, in memory."""


class EngineRefused(Exception):
    """The engine cannot run here; the text says why."""


@contextmanager
def engine() -> Iterator[str]:
    """Run an engine; give its address. It and all that it made is gone at the end."""
    if geteuid() != 0:
        raise EngineRefused("a Docker engine of our own needs root")
    address = FOLDER / "docker.sock"
    if _listens(address):
        raise EngineRefused(f"another run of this clone has its engine at {address}")
    _remove()
    FOLDER.mkdir(mode=0o711)
    process = start("dockerd", _command(address), log=FOLDER / "dockerd.log", stop_signal=signal.SIGKILL)
    try:
        process.wait_until(lambda: _listens(address), READY_TIMEOUT_S)
        yield f"unix://{address}"
    finally:
        _stop(process)
        _remove()


def _command(address: Path) -> list[str]:
    """Say how to start it. The storage driver is its own choice: overlay2 where it can, else vfs."""
    (FOLDER / "daemon.json").write_text("{}")
    hide = "".join(f"mkdir -p {path} && mount -t tmpfs roost {path} && " for path in HIDDEN)
    options = {
        "host": f"unix://{address}",
        "config-file": FOLDER / "daemon.json",
        "data-root": FOLDER / "data",
        "exec-root": FOLDER / "exec",
        "pidfile": FOLDER / "dockerd.pid",
        "group": "root",
        "bridge": "none",
        "iptables": "false",
        "ip6tables": "false",
        "ip-forward": "false",
        "ip-masq": "false",
        "userland-proxy": "false",
        "exec-opt": "native.cgroupdriver=cgroupfs",
        "cgroup-parent": f"/{NAME}",
    }
    alone = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return [*alone, "sh", "-c", f'{hide}exec dockerd "$@"', "sh", *(f"--{k}={v}" for k, v in options.items())]


def _stop(process: Process) -> None:
    """End it in order, so that it ends its containers; else at once, and they end with its namespace."""
    of = process.popen.pid
    for child in Path(f"/proc/{of}/task/{of}/children").read_text().split():
        kill(int(child), signal.SIGTERM)
    try:
        process.popen.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()


def _remove() -> None:
    """Remove its folder and its control groups, of this run or of one that was killed."""
    for parent in (CGROUPS / NAME, *CGROUPS.glob(f"*/{NAME}")):
        for group in sorted((one for one in parent.rglob("*") if one.is_dir()), reverse=True):
            group.rmdir()
        if parent.exists():
            parent.rmdir()
    shutil.rmtree(FOLDER, ignore_errors=True)


def _listens(address: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(address)) == 0
