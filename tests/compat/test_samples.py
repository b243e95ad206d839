"""What any release wrote, this one reads, and loses nothing of it."""

import json
import tomllib
from pathlib import Path

import pytest

from events import codec
from events.envelope import Origin, Sealed
from events.ids import EventId
from events.upcasters import LATEST
from tests.compat.releases import releases

SAMPLES = sorted(Path(__file__).with_name("samples").glob("*.json"))
ROOT = Path(__file__).resolve().parents[2]


def test_every_released_version_of_every_type_has_a_sample() -> None:
    wanted = {f"{name}.v{version}.json" for name in LATEST for version in range(1, LATEST[name] + 1)}
    assert {path.name for path in SAMPLES} == wanted, (
        "a version without a sample may become unreadable unnoticed: add it to tests/compat/make_samples.py "
        "and run that; never remove or rewrite one that is there"
    )


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_is_read_without_loss(path: Path) -> None:
    body = path.read_bytes()
    envelope, message = codec.decode(body)
    origin = Origin(
        source=envelope.source,
        actor=envelope.actor,
        causation=envelope.causationid,
        correlation=envelope.correlationid,
    )
    sealed = Sealed(
        id=EventId(envelope.id), subject=envelope.subject, time=envelope.time, origin=origin, message=message
    )
    again = codec.encode(sealed)
    assert path.name == f"{envelope.type}.v{envelope.dataversion}.json"
    assert codec.decode(again)[1] == message
    if envelope.dataversion == LATEST[envelope.type]:
        assert _holds(json.loads(again), json.loads(body)), "this release writes the same version differently"


@pytest.mark.parametrize("other", [{}, {"a": [1]}, {"a": [1, {"b": 3}]}, {"a": [1, {"b": None}, 4]}])
def test_what_is_lost_or_changed_is_seen(other: dict[str, object]) -> None:
    assert _holds({"a": [1, {"b": 2, "new": 0}], "new": 0}, {"a": [1, {"b": 2}]})
    assert not _holds(other, {"a": [1, {"b": 2}]})


def _holds(now: object, before: object) -> bool:
    """Tell whether *now* says all that *before* did; a field with a default may have been added since."""
    match now, before:
        case dict(), dict():
            return all(name in now and _holds(now[name], value) for name, value in before.items())
        case list(), list():
            return len(now) == len(before) and all(map(_holds, now, before))
        case _:
            return now == before


def test_the_newest_release_is_this_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = releases()
    assert found[-1].version == project["version"], "add the release to tests/compat/releases.txt"
    assert all(release.commit for release in found[:-1]), "only the last release may be pending"
