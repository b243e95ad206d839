"""Make and remove the files of disks. A crash in between leaves a draft behind, never half a disk."""

import contextlib
import errno
import os
import shutil
import struct
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

import structlog

from events.effective import FailureCode, StartFailure, Step
from events.spec import DiskFormat
from infra.runtime.ids import random_id
from services.hostd.hypervisor.blueprint import DiskFile, failure
from services.hostd.hypervisor.port import HypervisorRefused, StartRefused

MAKE_TIMEOUT_S = 600.0
"""A raw disk is a copy of its base: 60 GiB at 100 MiB/s."""
STALE_S = 2 * MAKE_TIMEOUT_S
"""No try that goes on leaves its draft alone for so long."""
BYTES_PER_MIB = 1024 * 1024
FOLDER_MODE = 0o711
"""QEMU may run as a user of its own: it must pass through, and needs no list."""
QCOW2_MAGIC = 0x514649FB
QCOW2_HEADER = struct.Struct(">I20xQ")
"""Magic, and the guest's size in bytes at offset 24 (QEMU, docs/interop/qcow2.txt)."""


def size_of(path: Path, disk_format: DiskFormat) -> int:
    """Tell how large the guest sees a disk, in bytes; raises OSError, or ValueError where it is no qcow2."""
    if disk_format is DiskFormat.RAW:
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_size
    with path.open("rb") as file:
        header = file.read(QCOW2_HEADER.size)
    if len(header) < QCOW2_HEADER.size or QCOW2_HEADER.unpack(header)[0] != QCOW2_MAGIC:
        raise ValueError("it is not a qcow2 file")
    size: int = QCOW2_HEADER.unpack(header)[1]
    return size


def check_disk(disk: DiskFile, *, may_make: bool) -> StartFailure | None:
    """Tell what is wrong with a disk: one that is there must be readable, one to be made must be makeable."""
    storage = disk.path.parent.parent
    if not storage.is_dir():
        said = f"disk {disk.name!r}: its storage folder {storage} is not there; mount or make it"
        return failure(Step.VALIDATE, FailureCode.STORAGE, said)
    if disk.path.parent.is_symlink() or disk.path.is_symlink():
        said = (
            f"disk {disk.name!r}: {disk.path} leads elsewhere by a symbolic link; put the file itself there"
        )
        return failure(Step.VALIDATE, FailureCode.DISK, said)
    if not disk.path.exists():
        return _check_making(disk) if may_make else _missing(disk)
    try:
        size_of(disk.path, disk.format)
    except (OSError, ValueError) as err:
        said = (
            f"disk {disk.name!r}: {disk.path} cannot be used: {err}; mend it or put a copy back in its place"
        )
        return failure(Step.VALIDATE, FailureCode.DISK, said)
    return None


def _missing(disk: DiskFile) -> StartFailure:
    said = (
        f"disk {disk.name!r} was made in an earlier run and {disk.path} is not there; it is not made anew, "
        "since it would be empty: mount its storage, put a copy back, or start the VM where its disks are"
    )
    return failure(Step.VALIDATE, FailureCode.DISK_MISSING, said)


def _check_making(disk: DiskFile) -> StartFailure | None:
    if disk.base is None:
        return None
    try:
        least = size_of(disk.base, disk.base_format)
    except (OSError, ValueError) as err:
        said = f"disk {disk.name!r}: its base {disk.base} cannot be used: {err}"
        return failure(Step.VALIDATE, FailureCode.DISK, said)
    if disk.size_mib is not None and disk.size_mib * BYTES_PER_MIB < least:
        need = -(-least // BYTES_PER_MIB)
        said = (
            f"disk {disk.name!r}: size_mib is {disk.size_mib}, below its base's {need}; ask for at least that"
        )
        return failure(Step.VALIDATE, FailureCode.DISK, said)
    return None


def make_disk(disk: DiskFile) -> None:
    """Make the file of a disk that is not there; raises StartRefused in qemu-img's own words.

    Another host may make the same one meanwhile, or a try that we gave up on may go on: each try has a draft
    of its own, and the first to be whole is the disk.
    """
    if disk.path.exists():
        return
    folder = disk.path.parent
    draft = folder / f".{disk.path.name}.{random_id()}.draft"
    try:
        folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
        try:
            draft.touch()
            _remove_stale(folder.glob(f".{disk.path.name}.*draft"), now=draft.stat().st_mtime)
            for command in _commands(disk, draft):
                subprocess.run(command, check=True, capture_output=True, text=True, timeout=MAKE_TIMEOUT_S)
            _sync(draft)
            _publish(draft, disk.path)
        finally:
            draft.unlink(missing_ok=True)
        _sync(folder)
        _sync(folder.parent)
    except (OSError, subprocess.SubprocessError) as err:
        said = err.stderr.strip() if isinstance(err, subprocess.CalledProcessError) else str(err)
        wrong = failure(
            Step.DEVICES, FailureCode.DISK, f"disk {disk.name!r}: {disk.path} cannot be made: {said}"
        )
        raise StartRefused([wrong]) from err


def _remove_stale(drafts: Iterable[Path], now: float) -> None:
    """Remove what tries that died have left; *now* is by the file system's clock, which may be another's."""
    for draft in drafts:
        with contextlib.suppress(FileNotFoundError):  # somebody else was faster
            if now - draft.stat().st_mtime > STALE_S:
                draft.unlink()


def _publish(draft: Path, path: Path) -> None:
    """Give the draft its name, unless the name is taken: a rename would put it over a disk in use."""
    try:
        os.link(draft, path)
    except FileExistsError:
        structlog.get_logger().info("disk_made_by_another", path=str(path))
    except OSError as err:
        if err.errno not in {errno.EPERM, errno.EOPNOTSUPP}:
            raise
        said = "its file system has no hard links, without which a disk in use could be overwritten"
        raise OSError(err.errno, f"{said}; keep disks on another") from err


def _commands(disk: DiskFile, draft: Path) -> list[list[str]]:
    size = [f"{disk.size_mib}M"] if disk.size_mib is not None else []
    create = ["qemu-img", "create", "-q", "-f", disk.format]
    if disk.base is None:
        return [[*create, str(draft), *size]]
    if disk.format is DiskFormat.QCOW2:  # thin: it holds what differs from its base
        backing = ["-b", str(disk.base.absolute()), "-F", disk.base_format]
        return [[*create, *backing, str(draft), *size]]
    copy = [
        "qemu-img",
        "convert",
        "-q",
        "-f",
        disk.base_format,
        "-O",
        disk.format,
        str(disk.base),
        str(draft),
    ]
    return [copy, *([["qemu-img", "resize", "-q", "-f", disk.format, str(draft), *size]] if size else [])]


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def cache_mode(path: Path) -> str:
    """Choose how QEMU writes to a disk: `none` past the host's page cache, where its file system can.

    Elsewhere `writeback`, which promises the guest the same: what it has flushed is on the disk. Not
    `writethrough`: that flushes after each write, and no guest asked for it.
    """
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECT))
    except OSError:
        return "writeback"
    return "none"


def remove_folders(vm_id: str, storages: Iterable[Path]) -> Sequence[Path]:
    """Remove the VM's folder in each of *storages* and name the files in it; no link is followed."""
    removed: list[Path] = []
    for storage in storages:
        folder = storage / vm_id
        if folder.is_symlink():
            raise HypervisorRefused(f"{folder} is a symbolic link: nothing behind it is removed; look at it")
        if not folder.is_dir():
            continue
        files = sorted(path for path in folder.rglob("*") if path.is_symlink() or path.is_file())
        try:
            shutil.rmtree(folder)
        except OSError as err:
            raise HypervisorRefused(f"{folder} cannot be removed: {err}") from err
        removed += files
    return removed
