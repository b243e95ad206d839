"""`roost vm`: list and look; what changes something is in `vm_shape` and `vm_run`."""

import sys

import click

from services.cli import naming, vm_run, vm_shape, vm_wishes
from services.cli.client import Body
from services.cli.core import columns, vm_columns
from services.cli.event import page_options, show_page
from services.cli.printing import document, lines, on_tty, table
from services.cli.session import Session, needs_session, output_option

LIST_MOST = 50_000
NONE_YET = "no VMs yet; make one: roost vm create demo --image tiny --cpus 1 --memory 512M"


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
        rows = [vm_columns.row(one, tty=on_tty()) for one in columns.by_name(items)]
        table(vm_columns.HEAD, rows, f"no VM is named {name}" if name else NONE_YET)
    else:
        document(session.output, {"items": items, "next_cursor": None})


@vm.command()
@click.argument("vm")
@click.option("--effective", is_flag=True, help="Show what the hypervisor made of it.")
@output_option
@needs_session
def show(session: Session, vm: str, *, effective: bool) -> None:
    """Show one VM."""
    doing = f"show vm {vm}"
    found = session.client.get(doing, f"/vms/{naming.vm_id(session.client, doing, vm)}")
    if session.output != "table":
        document(session.output, found["effective"] if effective else found)
    elif effective:
        _show_effective(found)
    else:
        wished = vm_wishes.host_ids(found["spec"])
        names = naming.host_names(session.client, doing) if wished else {}
        lines(vm_columns.lines(found, names, tty=on_tty()))
        sys.stdout.write("".join(f"  {line}\n" for line in vm_columns.failure_lines(found)))


def _show_effective(vm: Body) -> None:
    if vm["effective"] is None:
        why = "it has never run" if vm["generation"] == 0 else "nothing was read back since its last start"
        sys.stderr.write(f"vm {vm['name']}: {why}\n")
    else:
        lines(vm_columns.effective_lines(vm))


@vm.command()
@output_option
@needs_session
def verbs(session: Session) -> None:
    """Show what may be asked for in which phase."""
    found = session.client.get("show the verbs", "/verbs")
    if session.output == "table":
        head, rows = vm_columns.verb_table(found["verbs"])
        table(head, rows, "no verbs")
        sys.stderr.write(f"{vm_columns.VERDICTS_SAY}\n")
    else:
        document(session.output, found)


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


for _command in (vm_shape.create, vm_shape.update, vm_shape.delete):
    vm.add_command(_command)
for _command in (vm_run.start, vm_run.stop, vm_run.power_off, vm_run.reboot, vm_run.reset, vm_run.pause):
    vm.add_command(_command)
vm.add_command(vm_run.resume)
