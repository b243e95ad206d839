"""What all commands that change something share: their options, and what they print."""

import re
import secrets
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import click

from services.cli.client import Ask, Body
from services.cli.core.complaint import outcome_unknown
from services.cli.core.exits import Exit
from services.cli.core.units import memory_mib, seconds
from services.cli.follow import StillRunning, follow
from services.cli.printing import document
from services.cli.session import Session, output_option

TIMEOUT_S = "5m"

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


class Amount(click.ParamType[float, str]):
    """An amount with a unit, read by *read*."""

    def __init__(self, name: str, read: Callable[[str], float]) -> None:
        self.name = name
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read *value*; a usage error says what is possible."""
        if not isinstance(value, str):
            return float(value)
        try:
            return self._read(value)
        except ValueError as err:
            self.fail(str(err), param, ctx)


class Form(click.ParamType[Body, str]):
    """A text of several parts, read by *read*."""

    def __init__(self, name: str, read: Callable[[str], Body]) -> None:
        self.name = name
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Body:
        """Read *value*; a usage error says what is possible."""
        try:
            return self._read(value)
        except ValueError as err:
            self.fail(str(err), param, ctx)


DURATION = Amount("duration", seconds)
MEMORY = Amount("memory", memory_mib)


@dataclass(frozen=True)
class Waiting:
    """Whether and how long to stay, and under which key to ask."""

    wait: bool
    timeout_s: float
    key: str | None


def _checked_key(context: click.Context, option: click.Parameter, key: str | None) -> str | None:
    if key is not None and not _KEY.fullmatch(key):
        raise click.BadParameter("use 1 to 255 visible ASCII characters without spaces", context, option)
    return key


def waiting_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command `--no-wait`, `--timeout`, `--key` and `-o`; it gets them as one `waiting`."""

    @wraps(command)
    def gathered(*args: object, wait: bool, timeout_s: float, key: str | None, **rest: object) -> None:
        command(*args, waiting=Waiting(wait, timeout_s, key), **rest)

    for option in (
        click.option(
            "--key", callback=_checked_key, help="Idempotency key: the same key again is the same operation."
        ),
        click.option(
            "--timeout",
            "timeout_s",
            type=DURATION,
            default=TIMEOUT_S,
            show_default=True,
            help="How long to wait.",
        ),
        click.option(
            "--wait/--no-wait", default=True, help="Wait for the end, or print the operation's id and return."
        ),
        output_option,
    ):
        gathered = option(gathered)
    return gathered


def run(session: Session, ask: Ask, waiting: Waiting) -> Body | None:
    """Send a command and stay with it as asked; give its operation if it was seen to succeed."""
    key = waiting.key or secrets.token_hex(16)
    try:
        operation = session.client.command(ask, key)
    except KeyboardInterrupt as stop:
        sys.stderr.write(f"\ninterrupted; {outcome_unknown(key)}\n")
        raise click.exceptions.Exit(Exit.INTERRUPTED) from stop
    if not waiting.wait:
        if session.output == "table":
            click.echo(operation["id"])
        else:
            document(session.output, operation)
        return None
    sys.stderr.write(f"operation {operation['id']}\n")
    return stay(session, ask.doing, operation, waiting.timeout_s)


def stay(session: Session, doing: str, operation: Body, timeout_s: float) -> Body:
    """Wait for *operation* and print it where a format was asked for; raises Failure, click's Exit."""
    again = f"operation continues: roost op wait {operation['id']}\n"
    try:
        ended = follow(session.client, doing, operation, timeout_s)
    except StillRunning as running:
        sys.stderr.write(again)
        if session.output != "table":
            document(session.output, running.operation)
        raise click.exceptions.Exit(Exit.STILL_RUNNING) from running
    except KeyboardInterrupt as stop:
        sys.stderr.write(f"\n{again}")
        raise click.exceptions.Exit(Exit.INTERRUPTED) from stop
    if session.output != "table":
        document(session.output, ended)
    return ended
