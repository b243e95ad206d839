"""What `make readme` reads in a document, and when it says that the document is not true."""

import pytest

from tests.ground.blocks import BadDocument, Step, difference, matches, steps
from tests.tidy.sources import ROOT

DOCUMENT = """\
# A title

    $ not run: no fence

```
a picture
```

<!-- readme: background until "ready" -->

```console
$ server
starting
```

```console
$ cd folder
$ list --all   # a comment
one

two
```
"""


def test_commands_are_read_in_order_with_what_they_print() -> None:
    assert steps(DOCUMENT) == [
        Step(12, "server", ("starting",), until="ready"),
        Step(17, "cd folder"),
        Step(18, "list --all   # a comment", ("one", "", "two")),
    ]


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ("```sh\nmake\n```", "nothing runs sh"),
        ("```console\nmake\n```", "begins with a command"),
        ("```console\n$ make", "has no end"),
        ("<!-- readme: in the background -->\n```console\n$ make\n```", "unknown comment"),
        ('<!-- readme: background until "x" -->\n```console\n$ a\n$ b\n```', "has one command"),
        ('<!-- readme: background until "x" -->\nwords', "right before its block"),
        ('<!-- readme: background until "x" -->\n```\npicture\n```', "before a console block"),
    ],
)
def test_a_document_that_would_not_be_run_is_refused(document: str, why: str) -> None:
    with pytest.raises(BadDocument, match=why):
        steps(document)


@pytest.mark.parametrize(
    ("expected", "printed", "is_true"),
    [
        ((), "anything\nat all", True),
        (("one  two",), "one     two\n", True),
        (("id op_... ok",), "id op_7f ok", True),
        (("id op_... ok",), "id op_7f failed", False),
        (("first", "...", "last"), "first\nlast", True),
        (("first", "...", "last"), "first\n2\n3\nlast", True),
        (("first", "..."), "zeroth\nfirst", False),
        (("first",), "first\nsecond", False),
        (("(a+b)",), "(a+b)", True),
        (("a",), "", False),
    ],
)
def test_what_was_printed_is_compared(expected: tuple[str, ...], printed: str, is_true: bool) -> None:
    assert matches(expected, printed) is is_true


def test_the_difference_shows_only_what_is_wrong() -> None:
    shown = difference(("id ...", "state up"), "id 7\nstate   down").splitlines()
    assert [line for line in shown if line[0] in "+-" and line[1] not in "+-"] == ["-state up", "+state down"]


def test_the_readme_can_be_run() -> None:
    commands = [step.command for step in steps((ROOT / "README.md").read_text())]
    assert "make demo" in commands
    assert "make up" in commands
