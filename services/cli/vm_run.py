"""`roost vm start`, `stop` and all else that changes how a VM runs."""

import click

from services.cli import naming
from services.cli.client import Ask, Body
from services.cli.commanding import DURATION, Waiting, run, waiting_options
from services.cli.session import Session, needs_session

GRACE = "60s"

_grace = click.option(
    "--grace",
    type=DURATION,
    default=GRACE,
    show_default=True,
    help="How long the guest may take to do it by itself.",
)


@click.command()
@click.argument("vm")
@click.option("--paused", is_flag=True, help="Stand still before the first instruction: then `vm resume`.")
@click.option("--host", help="Only on this host: its name or id.")
@click.option("--boot", metavar="DEVICE[,…]", help="Boot from disk, cd or network, in the order given.")
@click.option("--cd", metavar="IMAGE", help="Put in the CD of this image.")
@click.option("--kernel", metavar="IMAGE", help="Boot the kernel of this image.")
@click.option("--cmdline", metavar="TEXT", help="The kernel's command line.")
@waiting_options
@needs_session
def start(session: Session, /, vm: str, *, paused: bool, waiting: Waiting, **once: str | None) -> None:
    """Place a VM on a host and run it there. The options hold for this one run alone."""
    given: Body = {name: value for name, value in once.items() if value is not None}
    if "boot" in given:
        given["boot"] = [device.strip() for device in given["boot"].split(",")]
    body: Body = {"paused": True} if paused else {}
    body |= {"once": given} if given else {}
    _act(session, "start", vm, waiting, body or None)


@click.command()
@click.argument("vm")
@_grace
@click.option("--force", is_flag=True, help="Power off at once: the same as --grace 0.")
@waiting_options
@needs_session
def stop(session: Session, vm: str, grace: float, *, force: bool, waiting: Waiting) -> None:
    """Shut a VM down; power it off when the grace time has passed."""
    _act(session, "stop", vm, waiting, {"grace_s": 0 if force else grace})


@click.command("power-off")
@click.argument("vm")
@waiting_options
@needs_session
def power_off(session: Session, vm: str, waiting: Waiting) -> None:
    """End a VM at once, without asking the guest."""
    _act(session, "power-off", vm, waiting)


@click.command()
@click.argument("vm")
@_grace
@waiting_options
@needs_session
def reboot(session: Session, vm: str, grace: float, waiting: Waiting) -> None:
    """Have the guest reboot. With changes that wait for its next start it is stopped and started."""
    _act(session, "reboot", vm, waiting, {"grace_s": grace})


@click.command()
@click.argument("vm")
@waiting_options
@needs_session
def reset(session: Session, vm: str, waiting: Waiting) -> None:
    """Press the reset button: the guest is not asked."""
    _act(session, "reset", vm, waiting)


@click.command()
@click.argument("vm")
@waiting_options
@needs_session
def pause(session: Session, vm: str, waiting: Waiting) -> None:
    """Have a VM stand still; its memory stays."""
    _act(session, "pause", vm, waiting)


@click.command()
@click.argument("vm")
@waiting_options
@needs_session
def resume(session: Session, vm: str, waiting: Waiting) -> None:
    """Have a paused VM go on."""
    _act(session, "resume", vm, waiting)


def _act(session: Session, action: str, vm: str, waiting: Waiting, body: Body | None = None) -> None:
    doing = f"{action} vm {vm}"
    path = f"/vms/{naming.vm_id(session.client, doing, vm)}/actions/{action}"
    run(session, Ask(doing, "POST", path, body), waiting)
