"""Read the console blocks of a document, and compare what they promise with what was printed.

In a ```console block a line that begins with `$ ` is run; the lines below it are what it prints; where there
are none anything will do. `...` stands for anything within a line, and alone on a line for any number of
lines; blanks count as one. A comment before a block, `<!-- readme: background until "TEXT" -->`, lets its one
command run on until the end of the document.
"""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass

PROMPT = "$ "
ANYTHING = "..."
FENCE = re.compile(r"^```(\w*)\s*$")
NOTE = re.compile(r"^<!--\s*readme:\s*(.*?)\s*-->$")
BACKGROUND = re.compile(r'background until "(.+)"')
NOT_RUN = {"sh", "bash", "shell"}
"""Blocks that look like commands; nothing would run them."""


class BadDocument(Exception):
    """Say which line cannot be understood, and what to write."""


@dataclass(frozen=True)
class Step:
    """One command of a document."""

    line: int
    command: str
    expected: tuple[str, ...] = ()
    until: str | None = None
    """It runs on in the background when it has printed this."""


def steps(text: str) -> list[Step]:
    """Read the commands of a document, in order; raises BadDocument."""
    found: list[Step] = []
    for number, language, note, lines in _blocks(text):
        if language in NOT_RUN:
            raise BadDocument(
                f"line {number}: nothing runs {language}: write console, and `$ ` before commands"
            )
        if language == "console":
            found += _steps(number, note, lines)
        elif note is not None:
            raise BadDocument(f"line {number}: a readme comment belongs before a console block")
    return found


def matches(expected: tuple[str, ...], printed: str) -> bool:
    """Tell whether *printed* is what was promised."""
    if not expected:
        return True
    pattern = "".join(
        r"(?:.*\n)*?" if line.strip() == ANYTHING else f"{_pattern(line)}\n" for line in expected
    )
    return re.fullmatch(pattern, "".join(f"{_blanks(line)}\n" for line in printed.splitlines())) is not None


def difference(expected: tuple[str, ...], printed: str) -> str:
    """Show promised and printed lines side by side in time; a line that matches one is shown as printed."""
    actual = [_blanks(line) for line in printed.splitlines()]
    promised, after = [], 0
    for line in expected:
        fits = next(
            (at for at in range(after, len(actual)) if re.fullmatch(_pattern(line), actual[at])), None
        )
        if fits is None or line.strip() == ANYTHING:
            promised.append(_blanks(line))
        else:
            promised.append(actual[fits])
            after = fits + 1
    return "\n".join(difflib.unified_diff(promised, actual, "promised", "printed", lineterm=""))


def _blocks(text: str) -> Iterator[tuple[int, str, str | None, list[str]]]:
    """Give each fenced block: its line, language, the readme comment before it, and what it holds."""
    note: str | None = None
    begun: tuple[int, str, list[str]] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if begun is not None:
            if line.rstrip() == "```":
                yield begun[0], begun[1], note, begun[2]
                begun, note = None, None
            else:
                begun[2].append(line)
        elif match := FENCE.match(line):
            begun = (number, match[1], [])
        elif match := NOTE.match(line.strip()):
            note = match[1]
        elif line.strip() and note is not None:
            raise BadDocument(f"line {number}: a readme comment belongs right before its block")
    if begun is not None:
        raise BadDocument(f"line {begun[0]}: this block has no end")


def _steps(number: int, note: str | None, lines: list[str]) -> list[Step]:
    match = BACKGROUND.fullmatch(note) if note is not None else None
    if note is not None and match is None:
        raise BadDocument(f'line {number}: unknown comment {note!r}: it is `background until "TEXT"`')
    parts: list[tuple[int, str, list[str]]] = []
    for at, line in enumerate(lines, number + 1):
        if line.startswith(PROMPT):
            parts.append((at, line.removeprefix(PROMPT), []))
        elif parts:
            parts[-1][2].append(line)
        else:
            raise BadDocument(f"line {at}: a console block begins with a command: `$ ` and what to run")
    if match is not None and len(parts) != 1:
        raise BadDocument(f"line {number}: a block that runs on in the background has one command")
    return [Step(at, command, tuple(told), match[1] if match else None) for at, command, told in parts]


def _pattern(line: str) -> str:
    return ".*".join(re.escape(part) for part in _blanks(line).split(ANYTHING))


def _blanks(line: str) -> str:
    return " ".join(line.split())
