"""`roost op`: what was asked for, and how far it is."""

import sys

import click

from services.cli import naming
from services.cli.commanding import DURATION, TIMEOUT_S, stay
from services.cli.core import columns
from services.cli.printing import document, lines, on_tty, table
from services.cli.session import Session, needs_session, output_option


@click.group()
def op() -> None:
    """Operations: every command is one. OP is an id or its first 8 or more characters."""


@op.command("list")
@click.option("--vm", help="Only those on this VM.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most so many.")
@output_option
@needs_session
def list_(session: Session, vm: str | None, limit: int) -> None:
    """List operations, the youngest first."""
    doing = "list operations"
    vm_id = None if vm is None else naming.vm_id(session.client, doing, vm)
    items = session.client.pages(doing, "/operations", limit, vm=vm_id)
    if session.output == "table":
        rows = [columns.operation_row(one, tty=on_tty()) for one in items]
        table(columns.OPERATION_HEAD, rows, "no operations")
    else:
        document(session.output, {"items": items, "next_cursor": None})


@op.command()
@click.argument("op")
@output_option
@needs_session
def show(session: Session, op: str) -> None:
    """Show one operation with its steps."""
    doing = f"show operation {op}"
    found = session.client.get(doing, f"/operations/{naming.operation_id(session.client, doing, op)}")
    if session.output == "table":
        lines(columns.operation_lines(found, tty=on_tty()))
        sys.stdout.write("".join(f"  {line}\n" for line in columns.step_lines(found, tty=on_tty())))
    else:
        document(session.output, found)


@op.command()
@click.argument("op")
@click.option(
    "--timeout", "timeout_s", type=DURATION, default=TIMEOUT_S, show_default=True, help="How long to wait."
)
@output_option
@needs_session
def wait(session: Session, op: str, timeout_s: float) -> None:
    """Wait until an operation has ended."""
    doing = f"wait for operation {op}"
    found = session.client.get(doing, f"/operations/{naming.operation_id(session.client, doing, op)}")
    stay(session, f"{columns.verb(found['verb'])} {columns.target(found)}", found, timeout_s)
