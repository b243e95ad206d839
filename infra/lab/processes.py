"""What /proc says about processes, as seen from the root pid namespace."""

from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
# What /proc answers for a process that ends while we read about it.
VANISHED = (FileNotFoundError, ProcessLookupError)
# A container's or sandbox's PID 1 may hide its namespaces even from root: surely it is none of ours.
HIDDEN = PermissionError


@dataclass(frozen=True)
class Process:
    """One process that is not a zombie."""

    pid: int
    parent: int
    name: str  # The kernel's comm: at most 15 characters.
    start_ticks: int  # Since boot; with the pid it names the process for ever.


def process(pid: int) -> Process | None:
    """Read about *pid*; None if there is none, or only a zombie."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except VANISHED:
        return None
    # The name is in parentheses and may hold any character; see proc(5).
    name = text[text.index("(") + 1 : text.rindex(")")]
    fields = text[text.rindex(")") + 2 :].split()
    if fields[0] in {"Z", "X"}:
        return None
    return Process(pid=pid, parent=int(fields[1]), name=name, start_ticks=int(fields[19]))


def processes() -> tuple[Process, ...]:
    """List every process, by pid."""
    pids = sorted(int(path.name) for path in PROC.iterdir() if path.name.isdigit())
    return tuple(found for found in map(process, pids) if found is not None)


def child_of(pid: int) -> Process | None:
    """Find the first child of *pid*."""
    return next((found for found in processes() if found.parent == pid), None)


def namespace(pid: int, kind: str) -> int | None:
    """Return the inode that names *pid*'s namespace of *kind* (pid, net, mnt, uts); None if it is gone."""
    try:
        return (PROC / str(pid) / "ns" / kind).stat().st_ino
    except (*VANISHED, HIDDEN):
        return None


def inside(pid_namespace: int) -> tuple[Process, ...]:
    """List the processes of one pid namespace, by pid."""
    return tuple(found for found in processes() if namespace(found.pid, "pid") == pid_namespace)


def arguments(pid: int) -> tuple[str, ...]:
    """Return *pid*'s command line; empty if it is gone."""
    try:
        return tuple((PROC / str(pid) / "cmdline").read_text(errors="replace").split("\0")[:-1])
    except VANISHED:
        return ()
