"""Read which commit each release is."""

import re
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("releases.txt")
PENDING = "<pending>"
LINE = re.compile(r"^(?P<version>\d+\.\d+\.\d+) (?P<commit>[0-9a-f]{40}|<pending>)$")


@dataclass(frozen=True)
class Release:
    """One line; *commit* is None while the release is being made."""

    version: str
    commit: str | None


def releases() -> tuple[Release, ...]:
    """List the releases, the oldest first; raises ValueError for a line that is none."""
    lines = (line for line in FILE.read_text().splitlines() if line and not line.startswith("#"))
    return tuple(map(_read, lines))


def _read(line: str) -> Release:
    match = LINE.fullmatch(line)
    if match is None:
        raise ValueError(f"{FILE.name}: {line!r} is not 'VERSION COMMIT' or 'VERSION {PENDING}'")
    return Release(match["version"], None if match["commit"] == PENDING else match["commit"])
