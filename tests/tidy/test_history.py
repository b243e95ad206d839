"""Rules about commit messages."""

import re

import pytest

from tests.tidy.sources import complain, git, has_git
from tests.tidy.words import CHATTER, PLACES

SUBJECT_MAX = 100
TRIVIAL_LINES = 60
"""A commit that changes fewer lines than this may say all in its subject."""
SLOPPY = re.compile(r"^(wip\b|fixup!|squash!|amend!|tmp\b|\.+$)", re.IGNORECASE)
CHANGED = re.compile(r"(\d+) (?:insertion|deletion)")


def test_every_commit_says_what_it_does_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    if not has_git():
        with capsys.disabled():
            print("\nNOT CHECKED: commit messages; this is no clone (there is no .git)")
        return
    log = git("log", "--no-merges", "--shortstat", "--format=%x1e%h%x1f%s%x1f%b%x1f")
    broken = []
    for record in log.split("\x1e")[1:]:
        commit, subject, body, stat = record.split("\x1f")
        lines = sum(map(int, CHANGED.findall(stat)))
        if not subject.strip() or SLOPPY.match(subject):
            broken.append(f"{commit}: {subject!r} says nothing")
        if len(subject) > SUBJECT_MAX:
            broken.append(f"{commit}: a subject of {len(subject)} characters, the most is {SUBJECT_MAX}")
        broken += [
            f"{commit}: {found[0]!r} means nothing to a reader in a year"
            for pattern in (CHATTER, PLACES)
            for found in pattern.finditer(f"{subject}\n{body}")
        ]
        if lines > TRIVIAL_LINES and not body.strip():
            broken.append(f"{commit}: {lines} lines changed and no word about why ({subject})")
    complain(
        "the log is read by whoever must undo or repeat a change in a year",
        "write what changed in the subject, and below it why and what was considered",
        broken,
    )
