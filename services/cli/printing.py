"""Put answers on standard output: tables for people, everything whole and plain for programs."""

import importlib
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from services.cli.core.complaint import aligned
from services.cli.settings import plain_wanted

_COLOURS: Mapping[str, str] = {
    "running": "green",
    "succeeded": "green",
    "up": "green",
    "paused": "yellow",
    "starting": "yellow",
    "booting": "yellow",
    "stopping": "yellow",
    "pending": "yellow",
    "unknown": "yellow",
    "stopped": "dim",
    "deleted": "dim",
    "failed": "red",
    "silent": "red",
}


def on_tty() -> bool:
    """Tell whether a person reads standard output."""
    return sys.stdout.isatty()


def document(output: str, body: object) -> None:
    """Print *body* as the API gave it, in the format *output*."""
    if output == "yaml":
        yaml: Any = importlib.import_module("yaml")  # only here: it would cost every start
        text = yaml.safe_dump(body, sort_keys=False, allow_unicode=True)
    else:
        text = json.dumps(body, indent=2, ensure_ascii=False) + "\n"
    sys.stdout.write(text)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], nothing: str) -> None:
    """Print *rows* under *head*; say *nothing* on standard error if there are none."""
    if not rows:
        sys.stderr.write(f"{nothing}\n")
    if on_tty():
        if rows:
            _rich_table(head, rows)
        return
    sys.stdout.write("".join(f"{line}\n" for line in aligned([head, *rows])))


def lines(pairs: Sequence[tuple[str, str]]) -> None:
    """Print one thing in full, a line a property."""
    text = aligned([(f"{name}:", value) for name, value in pairs])
    sys.stdout.write("".join(f"{line}\n" for line in text))


def _rich_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    rich_table: Any = importlib.import_module("rich.table")  # only here: it would cost every start
    rich_text: Any = importlib.import_module("rich.text")
    console: Any = importlib.import_module("rich.console").Console(no_color=plain_wanted(), highlight=False)
    made = rich_table.Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in head:
        made.add_column(name, overflow="fold")
    for row in rows:
        made.add_row(*(rich_text.Text(cell, style=_COLOURS.get(cell.partition(" ")[0], "")) for cell in row))
    console.print(made)
