"""`roost events`: the log."""

import click

from services.cli.core import columns
from services.cli.printing import document, on_tty, table
from services.cli.session import Session, needs_session, output_option


@click.command()
@click.option("--after", type=click.IntRange(min=0), default=0, help="Only events after this sequence.")
@click.option(
    "--limit",
    type=click.IntRange(1, 500),
    default=100,
    show_default=True,
    help="At most so many; fewer where events are large.",
)
@output_option
@needs_session
def events(session: Session, after: int, limit: int) -> None:
    """List the events of the log, in order."""
    page = session.client.get("list events", "/events", after=after, limit=limit)
    if session.output == "table":
        rows = [columns.event_row(one, tty=on_tty()) for one in page["items"]]
        table(columns.EVENT_HEAD, rows, "no events")
    else:
        document(session.output, page)
