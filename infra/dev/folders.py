"""Folders that are not kept: their owner removes them, or the next run does when the owner was killed."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

OWNER = ".owner"


@contextmanager
def scratch(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """Give a folder that PostgreSQL's user can pass through, ours alone to list; remove it at the end.

    Its owner holds a lock in it, which the kernel frees with the process. A folder of this *prefix* whose
    lock nobody holds was left by a killed one and is removed first. The lock of *parent* keeps makers and
    removers apart.
    """
    parent = parent or Path(tempfile.gettempdir())
    with ExitStack() as owned:
        with _locked(parent):
            for left in parent.glob(f"{prefix}*"):
                _sweep(left)
            folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
            (folder / OWNER).touch(0o600)
            owned.enter_context(_locked(folder / OWNER))
        folder.chmod(0o711)
        try:
            yield folder
        finally:
            _remove(folder)


def _sweep(folder: Path) -> None:
    """Remove *folder* unless its owner lives; what has no owner file is none of ours."""
    try:
        with _locked(folder / OWNER, fcntl.LOCK_NB):
            _remove(folder)
    except (BlockingIOError, FileNotFoundError):
        pass  # its owner lives, or has just removed it


def _remove(folder: Path) -> None:
    assert str(folder) not in Path("/proc/self/mountinfo").read_text(), (
        f"{folder}: removing would reach through"
    )
    # A killed child may write its last words meanwhile: the next run removes those.
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(path: Path, flag: int = 0) -> Iterator[None]:
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | flag)
        yield
    finally:
        os.close(handle)
