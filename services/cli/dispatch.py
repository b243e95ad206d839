"""Commands that only start another program of roost and become it."""

import os
import sys
from collections.abc import Mapping

import click

PROGRAMS: Mapping[str, tuple[str, str]] = {
    "dev": ("infra.dev.main", "Run all of roost on this machine, to try it out."),
    "lab": ("infra.lab.main", "Run several real hosts on this machine."),
    "log": ("sim.log", "Check the log against everything that was made of it."),
    "projector": ("services.projector.main", "Run the projector, or look after the read models."),
}
"""Name to the module that is run, and what it is for."""


def dispatcher(name: str) -> click.Command:
    """Make the command *name*, which hands everything after it to its program, `--help` included."""
    module, purpose = PROGRAMS[name]

    @click.command(
        name,
        help=purpose,
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    )
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def become(arguments: tuple[str, ...]) -> None:
        os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606 - ourselves

    return become
