"""What is generated from the code says what the code says, and breaks nobody who relies on it."""

import json
from typing import Any

import pytest

from events.codec import TYPES
from events.codes import CATALOGUE, Code
from events.schema import breaking_changes, schemas
from events.upcasters import LATEST, UPCASTERS
from tests.compat.releases import releases
from tests.support.write_generated import SCHEMAS, generated
from tests.tidy.sources import ROOT, complain, git, has_git

WRITE = "run `python -m tests.support.write_generated` and look at what changed"


def test_every_generated_file_says_what_the_code_says() -> None:
    complain(
        "a page or schema that lags behind the code is worse than none",
        WRITE,
        [
            path.relative_to(ROOT).as_posix()
            for path, text in generated().items()
            if not path.exists() or path.read_text() != text
        ],
    )


def test_no_schema_is_left_without_a_type() -> None:
    known = {f"{name}.v{version}.json" for name in LATEST for version in range(1, LATEST[name] + 1)}
    complain(
        "a schema of nothing misleads; one of a released version must stay",
        "remove the file, or restore the type: what is in a log must stay readable",
        sorted(known ^ {path.name for path in SCHEMAS.iterdir()}),
    )


def test_every_type_has_a_version_and_every_older_version_a_way_up() -> None:
    complain(
        "a message without a way to the newest version cannot be read any more",
        "keep LATEST and UPCASTERS of events/upcasters.py in step with the unions of commands and events",
        sorted(TYPES.keys() ^ LATEST.keys())
        + [
            f"{name} version {version} has no step up"
            for name, latest in LATEST.items()
            for version in range(1, latest)
            if (name, version) not in UPCASTERS
        ],
    )


def test_no_schema_breaks_a_reader_of_a_stored_one() -> None:
    stored = {path.name: json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")}
    complain(
        "messages of this version lie in logs that are never rewritten",
        "keep what was there; what cannot be kept is a new version with an upcaster",
        _broken("on disk", stored) + [line for ref in _references() for line in _broken(ref, _at(ref))],
    )


@pytest.mark.parametrize(
    "change",
    [
        {"properties": {}},
        {"properties": {"name": {"type": "integer"}}},
        {"required": []},
    ],
)
def test_a_planted_break_is_seen(change: dict[str, Any]) -> None:
    old = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    assert breaking_changes(old, old) == ()
    assert breaking_changes(old, {**old, **change})


def test_every_code_is_in_the_catalogue() -> None:
    complain(
        "a code without words is a riddle",
        "give it an entry in CATALOGUE of events/codes.py: title, status, detail with its facts, hint",
        [code for code in Code if code not in CATALOGUE]
        + [f"{code}: an empty word" for code, entry in CATALOGUE.items() if not _all_said(entry)],
    )


def _all_said(entry: Any) -> bool:
    return bool(entry.title and entry.detail and entry.hint) and 200 <= entry.status < 600


def _broken(where: str, stored: dict[str, Any]) -> list[str]:
    now = schemas()
    return [
        f"{name} ({where}): {loss}"
        for name, old in stored.items()
        if name in now
        for loss in breaking_changes(old, now[name])
    ]


def _references() -> list[str]:
    """Name the commits whose schemas bind us: the last one, and every release."""
    return ["HEAD", *(release.commit for release in releases() if release.commit)] if has_git() else []


def _at(ref: str) -> dict[str, Any]:
    folder = SCHEMAS.relative_to(ROOT).as_posix()
    names = git("ls-tree", "-r", "--name-only", ref, "--", folder).split()
    return {name.rpartition("/")[2]: json.loads(git("show", f"{ref}:{name}")) for name in names}
