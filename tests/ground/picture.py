"""Take a picture of what a run could leave on a machine, and tell two pictures apart."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.ground.world import World

KINDS = (
    *("processes", "namespaces", "mounts", "links", "firewall", "users", "modes", "files", "loop devices"),
    *("kernel parameters", "shared memory"),
)
KEPT = {
    "/run/roost-lab/.lock": "the lock that labs share",
    "/run/roost-lab/.kvm-*": "whether /dev/kvm boots a guest, until the machine boots again",
    **dict.fromkeys(
        ("/run/libvirt", "/var/lib/libvirt", "/var/cache/libvirt", "/var/log/libvirt"),
        "an empty folder that the lab binds over, where libvirt has not made it",
    ),
    "/tmp/pytest-of-*": "pytest keeps the folders of its last three runs",  # noqa: S108
}
"""What a run may leave on purpose, and why; besides these only what its own working copy holds."""
MOVING = re.compile(
    r"fs\.(dentry-state|file-nr|inode-nr|inode-state|aio-nr|quota\..*)|kernel\.(random\..*|ns_last_pid|pty\.nr)"
    r"|net\..*(_count|_key|stable_secret|route\.flush)|kernel\.sched_domain.*"
)
"""Kernel parameters that change by themselves, on any machine."""

Picture = Mapping[str, Mapping[str, str]]
"""Kind to what is there; each with what else would be a difference."""


@dataclass(frozen=True)
class Difference:
    """One thing that is not as it was."""

    kind: str
    how: str
    what: str


def differences(before: Picture, after: Picture) -> list[Difference]:
    """Tell what is new, gone or different in *after*."""
    found = []
    for kind in KINDS:
        old, new = before[kind], after[kind]
        found += [
            Difference(kind, "new", f"{name} {new[name]}".strip()) for name in sorted(new.keys() - old.keys())
        ]
        found += [
            Difference(kind, "gone", f"{name} {old[name]}".strip())
            for name in sorted(old.keys() - new.keys())
        ]
        found += [
            Difference(kind, "changed", f"{name} {old[name]} -> {new[name]}")
            for name in sorted(old.keys() & new.keys())
            if old[name] != new[name]
        ]
    return found


def table(found: list[Difference]) -> str:
    """Write one row a difference."""
    rows = [("KIND", "HOW", "WHAT"), *((one.kind, one.how, one.what) for one in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return "\n".join(f"  {kind:<{widths[0]}}  {how:<{widths[1]}}  {what}" for kind, how, what in rows)


def take(world: World, kept_folder: Path) -> Picture:
    """Look at everything; what *kept_folder* holds is left out."""
    room = world.room
    running = processes(world)
    files, modes = world.changes(lambda path: is_kept(path, kept_folder))
    return {
        "processes": running,
        "namespaces": namespaces(world, list(running)),
        "mounts": mounts(relative(world, Path(f"/proc/{room.pid}/mountinfo").read_text())),
        "links": dict.fromkeys(
            re.findall(r"^\s*(\S+):", Path(f"/proc/{room.pid}/net/dev").read_text(), flags=re.M), ""
        ),
        "firewall": {
            line.strip(): ""
            for line in (room.inside("nft", "list", "ruleset") + legacy_tables(world)).splitlines()
            if line.strip(" }")
        },
        "users": {
            f"{book} {line.partition(':')[0]}": line.partition(":")[2]
            for book in ("passwd", "group")
            for line in room.seen(f"/etc/{book}").read_text().splitlines()
        },
        "modes": modes,
        "files": files,
        "loop devices": {name: relative(world, file) for name, file in world.loop_devices().items()},
        "kernel parameters": parameters(room.inside("sysctl", "-a", "--ignore")),
        "shared memory": {
            f"{kind} {line}": ""
            for kind in ("shm", "sem", "msg")
            for line in room.inside("cat", f"/proc/sysvipc/{kind}").splitlines()[1:]
        },
    }


def processes(world: World) -> dict[str, str]:
    """List what runs in the room besides its holder, zombies left out: pid to command line."""
    found = {}
    for folder in world.room.seen("/proc").glob("[0-9]*"):
        try:
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            command = (folder / "cmdline").read_text(errors="replace").replace("\0", " ").strip()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if folder.name != "1" and state not in {"Z", "X"}:
            found[folder.name] = command
    return found


def namespaces(world: World, pids: list[str]) -> dict[str, str]:
    """List the namespaces that processes of the room are in and its holder is not."""
    proc = world.room.seen("/proc")

    def of(pid: str) -> set[str]:
        try:
            return {str(link.readlink()) for link in (proc / pid / "ns").iterdir()}
        except (FileNotFoundError, ProcessLookupError):
            return set()

    return {name: f"of process {pid}" for pid in pids for name in of(pid) - of("1")}


def mounts(mountinfo: str) -> dict[str, str]:
    """List the mounts, each by its number: two may be at the same place."""
    found = {}
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(" - ")
        found[f"{fields.split()[4]} #{fields.split()[0]}"] = " ".join(rest.split()[:2])
    return found


def relative(world: World, text: str) -> str:
    """Write paths as the run knows them."""
    return text.replace(str(world.room.root), "")


def legacy_tables(world: World) -> str:
    """Name the tables of the older packet filters, which nft does not list."""
    folder = Path(f"/proc/{world.room.pid}/net")
    names = [folder / f"{family}_tables_names" for family in ("ip", "ip6", "arp")]
    return "\n".join(
        f"{path.name} {path.read_text()}" for path in names if path.exists() and path.read_text()
    )


def parameters(listing: str) -> dict[str, str]:
    """Read `sysctl -a`; those of a link come and go with it, and a link is told by itself."""
    found = dict(line.split(" =", 1) for line in listing.splitlines() if " =" in line)
    per_link = re.compile(r"net\.\w+\.(conf|neigh)\.(?!all|default)")
    return {
        name: value.strip()
        for name, value in found.items()
        if not MOVING.fullmatch(name) and not per_link.match(name)
    }


def is_kept(path: Path, kept_folder: Path) -> bool:
    """Tell whether *path* is left on purpose."""
    return path == kept_folder or any(path.match(pattern) for pattern in KEPT)
