"""`roost vm`: list, look, and ask for something."""

import click

from services.cli import naming
from services.cli.client import Ask, Body
from services.cli.commanding import DURATION, MEMORY, Waiting, run, waiting_options
from services.cli.core import columns
from services.cli.event import page_options, show_page
from services.cli.printing import document, lines, on_tty, table
from services.cli.session import Session, needs_session, output_option

LIST_MOST = 50_000
GRACE = "60s"
NONE_YET = "no VMs yet; make one: roost vm create demo --image tiny --cpu 1 --memory 512M"


@click.group()
def vm() -> None:
    """Virtual machines. VM is a name, an id, or the first 8 or more characters of an id."""


@vm.command("list")
@click.option("--name", help="Only the VM of exactly this name.")
@output_option
@needs_session
def list_(session: Session, name: str | None) -> None:
    """List the VMs."""
    items = session.client.pages("list VMs", "/vms", LIST_MOST, name=name)
    if session.output == "table":
        rows = [columns.vm_row(one, tty=on_tty()) for one in columns.by_name(items)]
        table(columns.VM_HEAD, rows, f"no VM is named {name}" if name else NONE_YET)
    else:
        document(session.output, {"items": items, "next_cursor": None})


@vm.command()
@click.argument("vm")
@output_option
@needs_session
def show(session: Session, vm: str) -> None:
    """Show one VM."""
    doing = f"show vm {vm}"
    found = session.client.get(doing, f"/vms/{naming.vm_id(session.client, doing, vm)}")
    if session.output == "table":
        lines(columns.vm_lines(found, tty=on_tty()))
    else:
        document(session.output, found)


@vm.command()
@click.argument("name")
@click.option("--image", required=True, help="An image of the storage that all hosts see.")
@click.option("--cpu", type=click.IntRange(min=1), default=1, show_default=True, help="Virtual CPUs.")
@click.option("--memory", type=MEMORY, default="512M", show_default=True, help="Memory: 512M, 1G.")
@waiting_options
@needs_session
def create(session: Session, name: str, image: str, cpu: int, *, memory: float, waiting: Waiting) -> None:
    """Create a VM and print its id. It is stopped until it is started."""
    body: Body = {"name": name, "vcpus": cpu, "memory_mib": int(memory), "image": image}
    ended = run(session, Ask(f"create vm {name}", "POST", "/vms", body), waiting)
    if ended is not None and session.output == "table":
        click.echo(ended["target"]["id"])


@vm.command()
@click.argument("vm")
@waiting_options
@needs_session
def start(session: Session, vm: str, waiting: Waiting) -> None:
    """Place a VM on a host and run it there."""
    doing = f"start vm {vm}"
    path = f"/vms/{naming.vm_id(session.client, doing, vm)}/actions/start"
    run(session, Ask(doing, "POST", path), waiting)


@vm.command()
@click.argument("vm")
@click.option(
    "--grace",
    type=DURATION,
    default=GRACE,
    show_default=True,
    help="How long the guest may take before it is powered off.",
)
@click.option("--force", is_flag=True, help="Power off at once: the same as --grace 0.")
@waiting_options
@needs_session
def stop(session: Session, vm: str, grace: float, *, force: bool, waiting: Waiting) -> None:
    """Shut a VM down."""
    doing = f"stop vm {vm}"
    path = f"/vms/{naming.vm_id(session.client, doing, vm)}/actions/stop"
    run(session, Ask(doing, "POST", path, {"grace_s": 0 if force else grace}), waiting)


@vm.command()
@click.argument("vm")
@waiting_options
@needs_session
def delete(session: Session, vm: str, waiting: Waiting) -> None:
    """Delete a stopped VM; its history stays."""
    doing = f"delete vm {vm}"
    path = f"/vms/{naming.vm_id(session.client, doing, vm)}"
    run(session, Ask(doing, "DELETE", path), waiting)


@vm.command()
@click.argument("vm")
@page_options
@output_option
@needs_session
def history(session: Session, vm: str, after: int, limit: int) -> None:
    """List the events about a VM; a deleted VM is found by its id."""
    doing = f"show the history of vm {vm}"
    path = f"/vms/{naming.vm_id(session.client, doing, vm)}/history"
    show_page(session, session.client.get(doing, path, after=after, limit=limit))
