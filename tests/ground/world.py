"""This machine as a run sees it, where each of its changes can be told from everybody else's.

The run gets namespaces of its own and a copy-on-write view of every file system: what appears there was done
by the run or by what it started, for nobody else can reach in; and nothing that it does reaches the machine.
What has no namespace is told apart by a mark (loop devices: the file system of the file behind them), or
taken from the whole machine, which errs on the safe side (kernel parameters outside the network).
"""

import filecmp
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.dev.folders import scratch
from tests.ground.room import FOLDERS, Room, run

OF_THE_KERNEL = (Path("/proc"), Path("/sys"), Path("/dev"))
DETACH_TIMEOUT_S = 20.0
MARK = ".roost-leaks"
"""A file that is laid into each file system, so that its number is known."""
COPIED_ON_WRITE = {"ext2", "ext3", "ext4", "xfs", "btrfs", "tmpfs", "overlay", "f2fs", "zfs"}


@dataclass(frozen=True)
class Layer:
    """One file system of the machine: where it is mounted, and where what the run changes is kept."""

    place: Path
    upper: Path


@dataclass(frozen=True)
class World:
    """The run's machine."""

    room: Room
    layers: tuple[Layer, ...]

    def devices(self) -> set[int]:
        """Give the device numbers that the files of this world have, and no others."""
        places = [self.room.seen(str(layer.place / MARK)) for layer in self.layers]
        return {path.stat().st_dev for path in (*places, *(place.parent for place in places))}

    def loop_devices(self) -> dict[str, str]:
        """List the loop devices whose file is of this world: the one thing that would outlive it."""
        ours = {f"{os.major(number)}:{os.minor(number)}" for number in self.devices()}
        listing = ["losetup", "--json", "-l", "-O", "NAME,BACK-FILE,BACK-MAJ:MIN"]
        said = run(listing, timeout_s=DETACH_TIMEOUT_S)
        rows = json.loads(said)["loopdevices"] if said else []
        return {row["name"]: row["back-file"] for row in rows if row["back-maj:min"].strip() in ours}

    def changes(self, is_kept: Callable[[Path], bool]) -> tuple[dict[str, str], dict[str, str]]:
        """Give the files that are new, changed or gone, and those with another mode or owner."""
        found = Changes({}, {}, is_kept)
        for layer in self.layers:
            seen = Path(f"/proc/{self.room.pid}/root{layer.upper}")
            found.walk(seen, layer.place)
        return found.files, found.modes


@dataclass
class Changes:
    """What a run did to the machine's files."""

    files: dict[str, str]
    modes: dict[str, str]
    is_kept: Callable[[Path], bool]

    def walk(self, upper: Path, lower: Path) -> bool:
        """Compare a folder with the one below it; tell whether something in it is kept on purpose."""
        kept = False
        for entry in sorted(upper.iterdir()):
            below = lower / entry.name
            if self.is_kept(below) or entry.name == MARK:
                kept = True
                continue
            now, before = entry.lstat(), below.lstat() if os.path.lexists(below) else None
            if stat.S_ISCHR(now.st_mode) and now.st_rdev == 0:
                self.files[str(below)] = "gone"
            elif before is None or replaced(entry, now, before):
                kept |= self.added(entry, below, "new" if before is None else "replaced")
            else:
                if (was := owner_and_mode(before)) != (now_is := owner_and_mode(now)):
                    self.modes[str(below)] = f"{was} -> {now_is}"
                if stat.S_ISDIR(now.st_mode):
                    kept |= self.walk(entry, below)
                elif not same(entry, below, now):
                    self.files[str(below)] = "changed"
        return kept

    def added(self, entry: Path, below: Path, how: str) -> bool:
        """Name the topmost of what is new, unless something in it is kept on purpose: then the rest of it."""
        inner = Changes({}, {}, self.is_kept)
        if entry.is_dir() and not entry.is_symlink() and inner.walk(entry, below):
            self.files |= inner.files
            return True
        self.files[str(below)] = how
        return False


@contextmanager
def world() -> Iterator[World]:
    """Lay out the machine for one run; all of it is gone at the end."""
    with scratch("roost-leaks-", FOLDERS) as folder, Room(folder / "view", network=True) as room:
        # In memory: it goes with the namespaces, even if we are killed.
        size = shutil.disk_usage(folder).free  # what a server may find free there; no memory is set aside
        room.outside("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
        room.outside("mkdir", str(room.root))
        layers = []
        for number, (place, kind) in enumerate(file_systems()):
            target = str(room.root) + str(place).rstrip("/")
            if kind in COPIED_ON_WRITE and place.is_dir():
                upper, work = folder / f"upper-{number}", folder / f"work-{number}"
                room.outside("mkdir", str(upper), str(work))
                room.outside("touch", str(upper / MARK))
                options = f"lowerdir={place},upperdir={upper},workdir={work}"
                room.outside("mount", "-t", "overlay", "-o", options, "overlay", target)
                room.outside("chmod", f"--reference={place}", target)
                layers.append(Layer(place, upper))
            else:
                room.outside("mount", "--bind", "-o", "ro", str(place), target)
        room.furnish()
        ours = World(room, tuple(layers))
        try:
            yield ours
        finally:
            for name in ours.loop_devices():
                run(["losetup", "--detach", name], timeout_s=DETACH_TIMEOUT_S)


def file_systems() -> list[tuple[Path, str]]:
    """List the machine's mounts that hold files, each with its kind, the outer ones first."""
    found = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        place, options = Path(fields.split()[4]), fields.split()[5].split(",")
        if not any(place.is_relative_to(one) for one in OF_THE_KERNEL) and place.exists():
            found[place] = rest.split()[0] if "rw" in options else "read-only"
    return sorted(found.items())


def replaced(entry: Path, now: os.stat_result, before: os.stat_result) -> bool:
    """Tell whether something was removed and another thing made in its place."""
    if stat.S_IFMT(now.st_mode) != stat.S_IFMT(before.st_mode):
        return True
    return stat.S_ISDIR(now.st_mode) and "trusted.overlay.opaque" in os.listxattr(entry)


def same(entry: Path, below: Path, now: os.stat_result) -> bool:
    """Compare two files of one kind."""
    if stat.S_ISLNK(now.st_mode):
        return entry.readlink() == below.readlink()
    return not stat.S_ISREG(now.st_mode) or filecmp.cmp(entry, below, shallow=False)


def owner_and_mode(found: os.stat_result) -> str:
    """Write what decides who may pass."""
    return f"{stat.S_IMODE(found.st_mode):04o} {found.st_uid}:{found.st_gid}"
