"""Running another program to its end, within a bound."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from infra.lab.failure import LabFailed

PROGRAM_TIMEOUT_S = 30.0
STDERR_SHOWN_CHARS = 600


def say(text: str) -> None:
    """Tell whoever watches this process, on stderr: stdout belongs to the JSON lines."""
    print(f"lab: {text}", file=sys.stderr, flush=True)


def run_program(
    *argv: str,
    timeout_s: float = PROGRAM_TIMEOUT_S,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run *argv*, return its stdout; raise LabFailed if it is missing, fails or takes too long."""
    command = f"run `{' '.join(argv)}`"
    try:
        done = subprocess.run(
            argv,
            check=False,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            cwd=cwd,
            env={**os.environ, **(env or {}), "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError as err:
        raise LabFailed(
            what=f"run {argv[0]}", why="no such program on PATH", hint="python -m infra.lab.probe"
        ) from err
    except subprocess.TimeoutExpired as err:
        raise LabFailed(
            what=command, why=f"no end within {timeout_s:g} s", hint="a less busy machine"
        ) from err
    if done.returncode != 0:
        why = done.stderr.strip()[-STDERR_SHOWN_CHARS:] or "it said nothing on stderr"
        raise LabFailed(
            what=command, why=f"exit code {done.returncode}: {why}", hint="the same command by hand as root"
        )
    return done.stdout
