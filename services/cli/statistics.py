"""`roost vm stats` and `roost host stats`: what was told last, and how old it is."""

import sys

import click

from services.cli import naming
from services.cli.core import figures
from services.cli.printing import document, lines, table
from services.cli.session import Session, needs_session, output_option


@click.command("stats")
@click.argument("vm")
@output_option
@needs_session
def vm_stats(session: Session, vm: str) -> None:
    """Show what a running VM uses: processor, memory, disks, network."""
    doing = f"show the statistics of vm {vm}"
    path = f"/vms/{naming.vm_id(session.client, doing, vm)}/statistics"
    found = session.client.get(doing, path)
    if session.output != "table":
        document(session.output, found)
        return
    lines(figures.vm_lines(found))
    for head, rows in (
        (figures.DISK_HEAD, figures.disk_rows(found)),
        (figures.NIC_HEAD, figures.nic_rows(found)),
    ):
        if rows:
            sys.stdout.write("\n")
            table(head, rows, "")


@click.command("stats")
@click.argument("host")
@output_option
@needs_session
def host_stats(session: Session, host: str) -> None:
    """Show how busy a host is."""
    doing = f"show the statistics of host {host}"
    path = f"/hosts/{naming.host_id(session.client, doing, host)}/statistics"
    found = session.client.get(doing, path)
    if session.output == "table":
        lines(figures.host_lines(found))
    else:
        document(session.output, found)
