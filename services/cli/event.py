"""`roost events`: the log; and how events are asked for and shown, whatever they are about."""

from collections.abc import Mapping
from typing import Any

import click

from services.cli.core import columns
from services.cli.printing import document, on_tty, table
from services.cli.session import Session, needs_session, output_option


def page_options(command: Any) -> Any:
    """Give a command `--after` and `--limit`."""
    after = click.option(
        "--after", type=click.IntRange(min=0), default=0, help="Only events after this sequence."
    )
    limit = click.option(
        "--limit",
        type=click.IntRange(1, 500),
        default=100,
        show_default=True,
        help="At most so many; fewer where events are large.",
    )
    return after(limit(command))


def show_page(session: Session, page: Mapping[str, Any]) -> None:
    """Print one page of events."""
    if session.output == "table":
        rows = [columns.event_row(one, tty=on_tty()) for one in page["items"]]
        table(columns.EVENT_HEAD, rows, "no events")
    else:
        document(session.output, page)


@click.command()
@page_options
@output_option
@needs_session
def events(session: Session, after: int, limit: int) -> None:
    """List the events of the log, in order."""
    show_page(session, session.client.get("list events", "/events", after=after, limit=limit))
