"""A document is run as it is written: what is not true in it is found, and nothing runs on."""

from pathlib import Path

import pytest

from infra.lab.processes import arguments, processes
from tests.ground.readme import Shell, follow
from tests.ground.room import RoomFailed

TRUE = """\
<!-- readme: background until "ready" -->
```console
$ echo ready; exec sleep {marker}
ready
```

```console
$ cd /; NAME=kept
$ echo $NAME in $PWD   # with a comment
kept in /
```
"""


def written(folder: Path, text: str) -> Path:
    (folder / "clone").mkdir()
    document = folder / "clone" / "README.md"
    document.write_text(text)
    return document


def test_a_true_document_is_true_and_its_background_ends(tmp_path: Path) -> None:
    document = written(tmp_path, TRUE.replace("{marker}", "77.125"))
    assert follow(document, document.parent) == []
    assert not any(arguments(one.pid) == ("sleep", "77.125") for one in processes())


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("```console\n$ echo one\ntwo\n```", "-two\n+one"),
        ("```console\n$ echo why; false\n```", "ended with 1; it printed:\nwhy"),
        ('<!-- readme: background until "ready" -->\n```console\n$ echo never\n```', "it ended with 0"),
    ],
)
def test_what_is_not_true_is_shown(tmp_path: Path, document: str, said: str) -> None:
    path = written(tmp_path, document)
    (wrong,) = follow(path, path.parent)
    assert wrong.startswith("README.md:")
    assert said in wrong


def test_a_command_that_does_not_end_is_given_up(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    try:
        with pytest.raises(RoomFailed, match=r"no end within 0\.5 s; it printed:\nstarted"):
            shell.run("echo started; sleep 60", timeout_s=0.5)
    finally:
        shell.close()
