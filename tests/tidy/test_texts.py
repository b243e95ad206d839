"""Rules about every text, the documents among them."""

import re
from datetime import date

from tests.tidy.sources import ROOT, complain, texts
from tests.tidy.words import CHATTER, LEFT_OVER, PLACES, REGISTRIES

NOT_OURS = {"LICENSE"}

RESERVED_VERBS = (
    *("decide", "evolve", "reconcile", "place", "rank", "project", "fence", "evacuate", "drain", "follow"),
    *("append", "load", "renew", "revoke", "settle", "fold", "enlist"),
)
ADR_SECTIONS = ["Context", "Decision", "Considered", "Consequences"]
ADR_STATUS = re.compile(
    r"^Status: (proposed|accepted|rejected|superseded by \d{4}|accepted, in part superseded by \d{4})$"
)
CHANGES = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security", "Known limits"}
RELEASE = re.compile(r"^## \[(?P<version>\d+\.\d+\.\d+)\] - (?P<date>\d{4}-\d{2}-\d{2})$")


def _found(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{name}:{number}: {match[0]}"
        for name, text in texts()
        if name not in NOT_OURS
        for number, line in enumerate(text.splitlines(), 1)
        for match in pattern.finditer(line)
    ]


def test_no_text_names_a_place_of_one_machine() -> None:
    complain(
        "a path of one person's machine is wrong on every other",
        "say it relative to the repository, or to a folder that the reader chooses",
        _found(PLACES),
    )


def test_no_text_names_a_registry() -> None:
    complain(
        "where packages come from is the installation's choice: a mirror must do",
        "name the package, not the server; leave its address to pip's and apt's own settings",
        _found(REGISTRIES),
    )


def test_texts_speak_of_the_project_alone() -> None:
    complain(
        "a reader in a year has neither our tracker nor our talk",
        "write the reason itself where it is needed",
        _found(CHATTER),
    )


def test_nothing_is_left_for_later_in_the_text() -> None:
    complain(
        "a note to oneself is work that nobody has planned",
        "do it now, or say in CHANGELOG.md under 'Known limits' what is not there",
        _found(LEFT_OVER),
    )


def test_every_decision_record_has_its_form() -> None:
    broken = []
    records = sorted((ROOT / "docs/adr").glob("*.md"))
    for number, path in enumerate(records, 1):
        lines = path.read_text().splitlines()
        head = [line for line in lines[:8] if line]
        title = re.fullmatch(r"# (\d{4})\. (.+)", head[0])
        if not re.fullmatch(r"\d{4}(-[a-z0-9]+)+\.md", path.name) or int(path.name[:4]) != number:
            broken.append(f"{path.name}: the name is the next number, {number:04}, and a few words")
        if title is None or title[1] != path.name[:4]:
            broken.append(f"{path.name}: the first line is '# {path.name[:4]}. Title'")
        if not head[1].startswith("Date: ") or not _is_date(head[1].removeprefix("Date: ")):
            broken.append(f"{path.name}: then comes 'Date: YYYY-MM-DD'")
        if not ADR_STATUS.fullmatch(head[2]):
            broken.append(
                f"{path.name}: then 'Status: accepted' (or 'accepted, in part superseded by NNNN', proposed, "
                "rejected, superseded by NNNN)"
            )
        if [line.removeprefix("## ") for line in lines if line.startswith("## ")] != ADR_SECTIONS:
            broken.append(f"{path.name}: its sections are {', '.join(ADR_SECTIONS)}, in this order")
    complain(
        "a decision is looked up in a hurry, years later",
        "give it the form of the others in docs/adr",
        broken,
    )
    assert records, "docs/adr holds no record"


def test_the_glossary_has_every_reserved_verb() -> None:
    glossary = (ROOT / "docs/glossary.md").read_text()
    complain(
        "a verb that means two things hides a defect in the one that is rarer",
        "give each verb its one meaning in docs/glossary.md: a row that begins '| verb |'",
        [verb for verb in RESERVED_VERBS if f"\n| {verb} |" not in glossary],
    )


def test_the_changelog_has_its_form() -> None:
    lines = (ROOT / "CHANGELOG.md").read_text().splitlines()
    releases = [line for line in lines if line.startswith("## ") and line != "## [Unreleased]"]
    parsed = [RELEASE.fullmatch(line) for line in releases]
    broken = [line for line, match in zip(releases, parsed, strict=True) if match is None]
    broken += [line for line in lines if line.startswith("### ") and line.removeprefix("### ") not in CHANGES]
    versions = [tuple(map(int, match["version"].split("."))) for match in parsed if match is not None]
    if lines[0] != "# Changelog" or not versions:
        broken.append("it begins with '# Changelog' and has at least one release")
    if versions != sorted(versions, reverse=True):
        broken.append("the newest release comes first")
    if f'\nversion = "{".".join(map(str, versions[0]))}"' not in (ROOT / "pyproject.toml").read_text():
        broken.append("the newest release is the version of pyproject.toml")
    complain(
        "those who upgrade read only this",
        "keep the form of keepachangelog.com: '## [1.2.3] - YYYY-MM-DD', then " + ", ".join(sorted(CHANGES)),
        broken,
    )


def test_links_between_documents_lead_somewhere() -> None:
    link = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")
    complain(
        "a dead link sends a reader away for good",
        "mend the path; it is relative to the file that holds it",
        [
            f"{name}: {match[1]}"
            for name, text in texts()
            if name.endswith(".md")
            for match in link.finditer(text)
            if not (ROOT / name).parent.joinpath(match[1]).exists()
        ],
    )


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
