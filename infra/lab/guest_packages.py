"""Debian packages as a quarry: asked for, downloaded and unpacked, never installed."""

import re
from dataclasses import dataclass
from pathlib import Path

from infra.lab.failure import LabFailed
from infra.lab.programs import run_program, say

DOWNLOAD_TIMEOUT_S = 300.0
# As root apt would hand the download to the user _apt, who cannot write into our folder.
APT_AS_WE_ARE = ("-o", "APT::Sandbox::User=root")
# Of the libraries' own packages these are at every Debian's heart; the agent never lacks them.
ALWAYS_THERE = frozenset({"libc6", "libgcc-s1", "libcrypt1"})


@dataclass(frozen=True)
class Package:
    """A package in the version that apt would install."""

    name: str
    version: str


def candidates(*names: str) -> tuple[Package, ...]:
    """Ask apt's lists (no network) for the version of each package; raise LabFailed if one has none."""
    text = run_program("apt-cache", "policy", *names)
    found = dict(re.findall(r"^(\S+):\n  Installed: .*\n  Candidate: (?!\(none\))(\S+)", text, flags=re.M))
    absent = sorted(set(names) - set(found))
    if absent:
        raise LabFailed(
            what=f"find the packages {', '.join(absent)}",
            why="apt's lists name no version to download",
            hint="apt-get update, on Debian 12 or later for amd64",
        )
    return tuple(Package(name, found[name]) for name in names)


def dependencies(name: str) -> tuple[str, ...]:
    """Ask apt's lists what *name* depends on, in their order."""
    return tuple(
        re.findall(r"^\s*Depends: ([^\s<]+)$", run_program("apt-cache", "depends", name), flags=re.M)
    )


def library_packages(name: str) -> tuple[str, ...]:
    """Name every library package that *name* needs, through any number of steps, in stable order."""
    text = run_program(
        *("apt-cache", "depends", "--recurse", "--no-recommends", "--no-suggests", "--no-conflicts"),
        *("--no-breaks", "--no-replaces", "--no-enhances", name),
    )
    names = set(re.findall(r"^(lib[^\s:]+)$", text, flags=re.M))
    # A script of the agent's package is in Perl; nothing that the agent links to is.
    return tuple(sorted(name for name in names - ALWAYS_THERE if "perl" not in name))


def unpack(package: Package, *, cache: Path) -> Path:
    """Return the folder with *package*'s files; download and unpack it on the first call.

    The caller holds the lock of *cache*. A folder that exists is whole: it appears by a rename.
    """
    folder = cache / "packages" / f"{package.name}_{package.version.replace(':', '%3a')}"
    if folder.is_dir():
        return folder
    say(f"downloading {package.name} {package.version}")
    downloads = cache / "downloads" / package.name
    downloads.mkdir(parents=True, exist_ok=True)
    run_program(
        *("apt-get", *APT_AS_WE_ARE, "download", f"{package.name}={package.version}"),
        cwd=downloads,
        timeout_s=DOWNLOAD_TIMEOUT_S,
    )
    archive = max(downloads.glob("*.deb"), key=lambda path: path.stat().st_mtime_ns)
    half = folder.with_name(f".{folder.name}.half")
    half.mkdir(parents=True, exist_ok=True)
    run_program("dpkg", "-x", str(archive), str(half))
    half.rename(folder)
    archive.unlink()
    return folder
