"""`roost vm create`, `update`, `delete`: what a VM is."""

import sys
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import click

from services.cli import naming
from services.cli.client import Ask, Body
from services.cli.commanding import DURATION, MEMORY, Form, Waiting, run, waiting_options
from services.cli.core import devices, vm_columns
from services.cli.session import Session, needs_session
from services.cli.vm_wishes import Wishes, wishes_options

POLICIES = ("auto-resume", "leave-paused", "kill")

_CPUS = ("--cpus", "--cpu", "vcpus")
SAME = ("vcpus_max", "machine", "cpu_model", "graphics", "agent_wait_s", "priority", "highly_available")
"""Options that are fields as they are."""
_SHAPE = (
    click.option(
        "--max-cpus",
        "vcpus_max",
        type=click.IntRange(min=1),
        help="Up to how many may be plugged while it runs; all are reserved.  [default: --cpus]",
    ),
    click.option("--machine", help="The machine type, as libvirt names it.  [default: the host's]"),
    click.option("--cpu-model", help="The CPU model, as libvirt names it.  [default: the host's]"),
    click.option(
        "--graphics", type=click.Choice(["none", "vnc"]), help="What shows its screen.  [default: none]"
    ),
    click.option(
        "--transient/--persistent",
        default=None,
        help="Whether the hypervisor forgets it when it stops.  [default: persistent]",
    ),
    click.option(
        "--on-io-error",
        type=click.Choice(POLICIES),
        help="What becomes of it when a disk fails or is full.  [default: auto-resume]",
    ),
    click.option(
        "--agent-wait",
        "agent_wait_s",
        type=DURATION,
        help="How long its agent is waited for before it counts as running.  [default: 2m]",
    ),
    click.option(
        "--priority",
        type=click.IntRange(0, 100),
        help="Who starts first where several wait for a host: the higher.  [default: 50]",
    ),
    click.option(
        "--ha/--no-ha",
        "highly_available",
        default=None,
        help="Whether room is kept for it on other hosts, should its own fail.  [default: no]",
    ),
)


def shape_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that tell what a VM is; it gets those that were given as one `shape`."""

    @wraps(command)
    def gathered(*args: object, transient: bool | None, on_io_error: str | None, **rest: Any) -> None:
        shape: Body = {name: rest.pop(name) for name in SAME}
        shape["persistent"] = None if transient is None else not transient
        shape["on_io_error"] = None if on_io_error is None else on_io_error.replace("-", "_")
        command(*args, shape={name: value for name, value in shape.items() if value is not None}, **rest)

    for option in reversed(_SHAPE):
        gathered = option(gathered)
    return gathered


@click.command()
@click.argument("name")
@click.option("--image", required=True, help="An image of the storage that all hosts see.")
@click.option(*_CPUS, type=click.IntRange(min=1), default=1, show_default=True, help="Virtual CPUs.")
@click.option("--memory", type=MEMORY, default="512M", show_default=True, help="Memory: 512M, 1G.")
@click.option(
    "--disk",
    "disks",
    type=Form("disk", devices.disk),
    multiple=True,
    metavar="NAME:SIZE[:FORMAT][:STORAGE]",
    help="One more disk, made at the first start; NAME:from=IMAGE: thin, over an image's. May be repeated.",
)
@click.option(
    "--nic",
    "nics",
    type=Form("nic", devices.nic),
    multiple=True,
    metavar="BRIDGE[,MAC]",
    help="A network card on a bridge of the host. May be repeated.",
)
@shape_options
@wishes_options
@waiting_options
@needs_session
def create(
    session: Session,
    name: str,
    image: str,
    vcpus: int,
    *,
    memory: float,
    disks: Sequence[Body],
    nics: Sequence[Body],
    shape: Body,
    wishes: Wishes,
    waiting: Waiting,
) -> None:
    """Create a VM and print its id. It is stopped until it is started."""
    body: Body = {"name": name, "vcpus": vcpus, "memory_mib": int(memory), "image": image, **shape}
    body |= {field: list(some) for field, some in (("disks", disks), ("nics", nics)) if some}
    doing = f"create vm {name}"
    body |= wishes.body(session.client, doing)
    ended = run(session, Ask(doing, "POST", "/vms", body), waiting)
    if ended is not None and session.output == "table":
        click.echo(ended["target"]["id"])


@click.command()
@click.argument("vm")
@click.option("--image", help="An image of the storage that all hosts see.")
@click.option(*_CPUS, type=click.IntRange(min=1), help="Virtual CPUs.")
@click.option("--memory", type=MEMORY, help="Memory: 512M, 1G.")
@click.option("--no-wishes", is_flag=True, help="Wish nothing of its place but what is given here.")
@shape_options
@wishes_options
@waiting_options
@needs_session
def update(
    session: Session,
    vm: str,
    image: str | None,
    vcpus: int | None,
    *,
    memory: float | None,
    no_wishes: bool,
    shape: Body,
    wishes: Wishes,
    waiting: Waiting,
) -> None:
    """Change what a VM is. What cannot be changed while it runs waits for its next start.

    Groups, and each kind of labels and hosts, are replaced as a whole.
    """
    plain: Body = {"image": image, "vcpus": vcpus, "memory_mib": None if memory is None else int(memory)}
    doing = f"update vm {vm}"
    patch = {name: value for name, value in plain.items() if value is not None} | shape
    patch |= wishes.body(session.client, doing, forget=no_wishes)
    if not patch:
        raise click.UsageError("nothing to change: give at least one option, such as --cpus 2")
    path = f"/vms/{naming.vm_id(session.client, doing, vm)}"
    ended = run(session, Ask(doing, "PATCH", path, patch), waiting)
    if ended is not None and not ended["note"] and session.output == "table":
        now = session.client.get(doing, path)
        sys.stderr.write("".join(f"  {line}\n" for line in vm_columns.when_lines(now, patch)))


@click.command()
@click.argument("vm")
@click.option("--keep-disks", is_flag=True, help="Leave the files of its disks where they are.")
@waiting_options
@needs_session
def delete(session: Session, vm: str, *, keep_disks: bool, waiting: Waiting) -> None:
    """Delete a stopped VM and its disks; its history stays."""
    doing = f"delete vm {vm}"
    path = f"/vms/{naming.vm_id(session.client, doing, vm)}{'?keep_disks=true' if keep_disks else ''}"
    run(session, Ask(doing, "DELETE", path), waiting)
