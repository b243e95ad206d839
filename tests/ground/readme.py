"""Run README.md, and docs/guide where there is one, as a newcomer would: `make readme`.

The last commit is cloned into a temporary folder; the documents' commands run there in order, each document
in a shell of its own, and what they print is compared with what the document says. The notation: blocks.py.
"""

import argparse
import asyncio
import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from infra.dev.folders import scratch
from tests.ground.blocks import BadDocument, Step, difference, matches, steps
from tests.ground.room import FOLDERS, RoomFailed, run, stoppable
from tests.support.eventually import eventually

ROOT = Path(__file__).parents[2]
CLONE_TIMEOUT_S = 300.0
STEP_TIMEOUT_S = 1200.0
"""The first command installs everything."""
STOP_TIMEOUT_S = 60.0
INTERRUPTED = {0, -signal.SIGINT, 128 + signal.SIGINT}
MARK = "--- end of the command ---"
OURS = re.compile(r"ROOST_\w+|MAKE\w*|MFLAGS|VIRTUAL_ENV|PYTHON\w*|ONLY|RUN")
"""What a newcomer's environment does not hold."""


class Shell:
    """One terminal: what one command sets the next one finds."""

    def __init__(self, folder: Path) -> None:
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=newcomer(),
            start_new_session=True,
        )

    def run(self, command: str, timeout_s: float = STEP_TIMEOUT_S) -> tuple[int, str]:
        """Run one command; give its exit code and what it printed; raises RoomFailed if it takes too long."""
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._bash.stdin.write(f"{{ {command}\n}} < /dev/null\nprintf '\\n%s %s\\n' '{MARK}' $?\n".encode())
        self._bash.stdin.flush()
        said, deadline = b"", time.monotonic() + timeout_s
        while not (end := re.search(rf"\n{MARK} (\d+)\n".encode(), said)):
            readable, _, _ = select.select([self._bash.stdout], [], [], max(0.0, deadline - time.monotonic()))
            part = os.read(self._bash.stdout.fileno(), 65536) if readable else b""
            if not part:
                raise RoomFailed(
                    f"no end within {timeout_s:g} s; it printed:\n{said.decode(errors='replace')}"
                )
            said += part
        return int(end[1]), said[: end.start()].decode(errors="replace")

    def close(self) -> None:
        """End the shell and what it runs in the foreground."""
        os.killpg(self._bash.pid, signal.SIGKILL)
        self._bash.communicate()


@contextmanager
def background(step: Step, folder: Path, said: Path) -> Iterator[None]:
    """Run a command on and on; it is ready when it has printed its word, and ends by Ctrl-C."""
    with said.open("wb") as sink:
        process = subprocess.Popen(
            ["bash", "-c", step.command],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            cwd=folder,
            env=newcomer(),
            start_new_session=True,
        )

    def is_ready() -> bool:
        return process.poll() is not None or str(step.until) in said.read_text(errors="replace")

    try:
        asyncio.run(eventually(is_ready, f"{step.command}: {step.until!r}", STEP_TIMEOUT_S))
        if process.poll() is not None:
            raise RoomFailed(f"it ended with {process.returncode}; it printed:\n{said.read_text()}")
        yield
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode not in INTERRUPTED:
        raise RoomFailed(f"{step.command}: Ctrl-C ended it with {process.returncode}:\n{said.read_text()}")


def newcomer() -> dict[str, str]:
    """Give the environment without what a developer of roost may have set."""
    kept = {key: value for key, value in os.environ.items() if not OURS.fullmatch(key)}
    path = [place for place in kept["PATH"].split(":") if not place.startswith(str(ROOT))]
    return kept | {"PATH": ":".join(path)}


def follow(document: Path, folder: Path) -> list[str]:
    """Run a document's commands in *folder*; give what was not as promised."""
    name = document.relative_to(folder)
    with ExitStack() as open_terminals:
        shell = Shell(folder)
        open_terminals.callback(shell.close)
        for step in steps(document.read_text()):
            where, began = f"{name}:{step.line}: {step.command}", time.monotonic()
            try:
                if step.until is None:
                    code, printed = shell.run(step.command)
                else:
                    said = folder.parent / f"background-{step.line}.out"
                    open_terminals.enter_context(background(step, folder, said))
                    code, printed = 0, said.read_text(errors="replace")
            except (RoomFailed, AssertionError) as err:
                return [f"{where}\n{err}"]
            wrong = not matches(step.expected, printed)
            print(
                f"{'WRONG' if code or wrong else 'ok':<6}{time.monotonic() - began:6.1f} s  {where}",
                flush=True,
            )
            if code:
                return [f"{where}\nended with {code}; it printed:\n{printed}"]
            if wrong:
                return [f"{where}\n{difference(step.expected, printed)}"]
    return []


def main() -> int:
    """Clone, run, compare; end with 1 and a diff where a document is not true."""
    argparse.ArgumentParser(prog="make readme", description=__doc__).parse_args()
    wrong: list[str] = []
    with scratch("roost-readme-", FOLDERS) as made:
        clone = made / "roost"
        run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(clone)], timeout_s=CLONE_TIMEOUT_S)
        for document in (clone / "README.md", *sorted((clone / "docs/guide").glob("*.md"))):
            try:
                wrong += follow(document, clone)
            except (BadDocument, RoomFailed) as err:
                wrong.append(f"{document.relative_to(clone)}: {err}")
    print(
        "\n".join(
            ["", *wrong, "not true, see above"] if wrong else ["", "Every command does what is written."]
        )
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    stoppable(main)
