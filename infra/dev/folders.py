"""Folders that are not kept: their owner removes them, or the next run does when the owner was killed."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def temporary_folder(prefix: str, parent: Path | None = None) -> Path:
    """Make a folder that PostgreSQL's user can pass through, ours alone to list.

    Its owner holds the folder's lock for as long as it lives; a folder of this *prefix* that nobody holds
    was left by a killed one and is removed. The lock of *parent* keeps makers and removers apart.
    """
    parent = parent or Path(tempfile.gettempdir())
    with _locked(parent):
        for folder in parent.glob(f"{prefix}*"):
            _sweep(folder)
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        # Never closed: the kernel frees it with the process, however that ends.
        fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_EX)
    folder.chmod(0o711)
    return folder


def _sweep(folder: Path) -> None:
    """Remove *folder* unless its owner lives."""
    try:
        with _locked(folder, fcntl.LOCK_NB):
            shutil.rmtree(folder, ignore_errors=True)
    except (BlockingIOError, FileNotFoundError):
        pass  # its owner lives, or has just removed it


@contextmanager
def _locked(folder: Path, flag: int = 0) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | flag)
        yield
    finally:
        os.close(handle)
