"""The lock is in step with what pyproject.toml asks for."""

import re
import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.tidy.sources import ROOT, complain

PINNED = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(?:\[[^\]]*\])?==(?P<version>[^\s;\\]+)")


def _locked() -> dict[str, tuple[Version, int]]:
    """Read the lock: name to version and number of hashes."""
    text = (ROOT / "requirements.lock").read_text().replace("\\\n", " ")
    found = {}
    for line in text.splitlines():
        match = PINNED.match(line)
        if match:
            found[str(canonicalize_name(match["name"]))] = (
                Version(match["version"]),
                line.count("--hash=sha256:"),
            )
    return found


def _asked_for() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = [project["project"]["dependencies"], *project["project"]["optional-dependencies"].values()]
    asked = [Requirement(line) for group in [*groups, project["build-system"]["requires"]] for line in group]
    return [requirement for requirement in asked if requirement.name != "roost"]


def test_everything_asked_for_is_locked_at_a_version_that_will_do() -> None:
    locked = _locked()
    broken = []
    for requirement in _asked_for():
        version, _ = locked.get(str(canonicalize_name(requirement.name)), (None, 0))
        if version is None:
            broken.append(f"{requirement}: not locked")
        elif not requirement.specifier.contains(version, prereleases=True):
            broken.append(f"{requirement}: locked at {version}")
    complain(
        "what is installed must be what was tested",
        "make requirements.lock anew after a change of dependencies (see CONTRIBUTING.md)",
        broken,
    )


def test_everything_locked_has_hashes() -> None:
    complain(
        "without hashes a package can be replaced on its way",
        "lock with hashes",
        [name for name, (_, hashes) in _locked().items() if hashes == 0],
    )


def test_the_lock_names_no_place() -> None:
    text = (ROOT / "requirements.lock").read_text()
    complain(
        "where packages come from is the installation's choice",
        "lock names, versions and hashes alone",
        [line for line in text.splitlines() if "://" in line or " @ " in line or line.startswith("-")],
    )
