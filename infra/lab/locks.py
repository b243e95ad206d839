"""Locks between processes that the kernel frees when the holder dies."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.lab.failure import LabFailed

LOCK_POLL_S = 0.05


@contextmanager
def locked(folder: Path, *, timeout_s: float) -> Iterator[None]:
    """Hold the lock of *folder*, made if missing; raise LabFailed if another holds it too long."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        deadline = time.monotonic() + timeout_s
        while not try_lock(lock.fileno()):
            if time.monotonic() > deadline:
                raise LabFailed(
                    what=f"lock {folder}",
                    why=f"another process has held it for {timeout_s:g} s",
                    hint=f"fuser -v {folder}/.lock",
                )
            time.sleep(LOCK_POLL_S)
        yield


def try_lock(descriptor: int) -> bool:
    """Take the lock if it is free; closing the file gives it back."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
