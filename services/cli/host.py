"""`roost host`: list and look."""

import click

from services.cli import naming
from services.cli.core import columns
from services.cli.printing import document, lines, on_tty, table
from services.cli.session import Session, needs_session, output_option

LIST_MOST = 50_000


@click.group()
def host() -> None:
    """Hosts. HOST is a name, an id, or the first 8 or more characters of an id."""


@host.command("list")
@output_option
@needs_session
def list_(session: Session) -> None:
    """List the hosts."""
    items = session.client.pages("list hosts", "/hosts", LIST_MOST)
    if session.output == "table":
        rows = [columns.host_row(one, tty=on_tty()) for one in columns.by_name(items)]
        table(columns.HOST_HEAD, rows, "no host has reported yet")
    else:
        document(session.output, {"items": items, "next_cursor": None})


@host.command()
@click.argument("host")
@output_option
@needs_session
def show(session: Session, host: str) -> None:
    """Show one host."""
    doing = f"show host {host}"
    found = session.client.get(doing, f"/hosts/{naming.host_id(session.client, doing, host)}")
    if session.output == "table":
        lines(columns.host_lines(found, tty=on_tty()))
    else:
        document(session.output, found)
