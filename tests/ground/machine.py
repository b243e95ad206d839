"""Find this machine's settings of package sources, proxies and certificates; nothing is assumed of them."""

import os
import re
import shlex
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.ground.room import RoomFailed, run

ASK_TIMEOUT_S = 60.0
PASSED_ON = re.compile(
    r"(PIP_\w+|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|GIT_SSL_CAINFO|\w+_proxy)", re.IGNORECASE
)
CERTIFICATES = Path("/usr/local/share/ca-certificates")
ALWAYS = (Path("/etc/apt"), Path("/etc/hosts"), Path("/etc/resolv.conf"), CERTIFICATES)
MADE_THERE = Path("/etc/ssl/certs")
"""Made on the new machine from its own certificates and the ones taken over."""


@dataclass(frozen=True)
class Taken:
    """What a fresh machine takes over."""

    environment: Mapping[str, str]
    proxies: tuple[str, ...]
    """As `name=value`, for programs that do not read apt's settings."""
    copied: Mapping[Path, Path]
    """Files and folders here, and where they go."""
    bound: tuple[Path, ...]
    """Folders of packages: too large to copy, seen there read-only."""
    archives: Mapping[str, str]
    """apt's archives: the address of each suite."""

    def archive(self, suite: str) -> str:
        """Give the address of *suite*'s archive; raises RoomFailed if apt has none."""
        if suite not in self.archives:
            known = ", ".join(self.archives) or "none"
            raise RoomFailed(
                f"apt has no source for {suite} (it knows {known}); apt-get update after adding one"
            )
        return self.archives[suite]


def taken_over() -> Taken:
    """Ask apt, pip and the environment."""
    environment = {key: value for key, value in os.environ.items() if PASSED_ON.fullmatch(key)}
    targets = [
        "apt-get",
        "indextargets",
        "--format",
        "$(CODENAME) $(COMPONENT) $(REPO_URI)",
        "Created-By: Packages",
    ]
    rows = [line.split() for line in run(targets, timeout_s=ASK_TIMEOUT_S).splitlines()]
    apt = run(["apt-config", "dump"], timeout_s=ASK_TIMEOUT_S)
    pip = [sys.executable, "-m", "pip", "config"]
    settings = run([*pip, "list"], timeout_s=ASK_TIMEOUT_S)
    files = pip_files(run([*pip, "debug"], timeout_s=ASK_TIMEOUT_S))
    archives = {suite: address for suite, component, address in rows if component == "main"}
    named = {
        *places(environment.values()),
        *places(values(settings)),
        *places(row[2] for row in rows),
        *places(re.findall(r'^Acquire::\S+ "(.*)";$', apt, flags=re.M)),
        *places(re.findall(r"^Signed-By:(.*)$", deb822(), flags=re.M | re.I)),
        *places(re.findall(r"signed-by=([^\s\]]+)", deb822(), flags=re.I)),
    }
    whole = {path for path in named if not path.is_relative_to(MADE_THERE)}
    copied = [
        *(path for path in (*ALWAYS, *files) if path.exists()),
        *(path for path in whole if path.is_file()),
    ]
    return Taken(
        environment=environment,
        proxies=tuple(
            f"{scheme}_proxy={address}"
            for scheme, address in re.findall(r'^Acquire::(https?)::Proxy "(.+)";$', apt, flags=re.M | re.I)
        ),
        copied={path: at_home(path) for path in copied},
        bound=tuple(sorted({index_whole(path) for path in whole if path.is_dir()})),
        archives=archives,
    )


def deb822() -> str:
    """Read apt's lists of sources, of either form."""
    folder = Path("/etc/apt/sources.list.d")
    files = [Path("/etc/apt/sources.list"), *folder.glob("*.list"), *folder.glob("*.sources")]
    return "\n".join(path.read_text() for path in files if path.exists())


def pip_files(debug: str) -> list[Path]:
    """List the files that pip has read, but for those of one environment."""
    section, found = "", []
    for line in debug.splitlines():
        if not line.startswith(" "):
            section = line.strip(" :")
        elif section != "site" and (match := re.fullmatch(r"\s+(/.+), exists: True", line)):
            found.append(Path(match[1]))
    return found


def values(settings: str) -> list[str]:
    """Give the values of pip's `name='value'` lines."""
    return [shlex.split(line.partition("=")[2])[0] for line in settings.splitlines() if "=" in line]


def places(texts: Iterable[str]) -> set[Path]:
    """Find the files and folders of this machine that *texts* name, as paths or as `file:` addresses."""
    words = (word for text in texts for word in text.split())
    paths = (Path(re.sub(r"^(file|copy):(//)?", "", word)) for word in words)
    return {path for path in paths if path.is_absolute() and len(path.parts) > 1 and path.exists()}


def index_whole(folder: Path) -> Path:
    """Give the folder with an index and its files: the pages in `simple` lead to what lies beside it."""
    return folder.parent if folder.name == "simple" else folder


def at_home(path: Path) -> Path:
    """Say where *path* goes: what is in our home goes to root's."""
    home = Path.home()
    return Path("/root") / path.relative_to(home) if path.is_relative_to(home) else path
