"""`roost version` and `roost help`: what this is, and what its codes mean."""

import importlib

import click

from events.codes import CATALOGUE, Code
from services.cli.core import exits
from services.cli.core.complaint import not_found
from services.cli.failure import Failure
from services.cli.printing import document, lines
from services.cli.session import Session, needs_session, output_option

EXIT_CODES = "exit-codes"


@click.command()
@output_option
@needs_session
def version(session: Session) -> None:
    """Show the versions of this program and of the server."""
    found = {"client": importlib.import_module("importlib.metadata").version("roost")}
    try:
        found["server"] = session.client.plain("show the server's version", "/version")["version"]
    except Failure as failure:
        found["server"] = f"unknown: {failure}"
    if session.output == "table":
        lines([(name.capitalize(), value) for name, value in found.items()])
    else:
        document(session.output, found)


@click.command("help")
@click.argument("topic", default="")
@click.pass_context
def help_(context: click.Context, topic: str) -> None:
    """Explain a code of an error, or `exit-codes`."""
    if not topic:
        click.echo(context.find_root().get_help())
        return
    if topic == EXIT_CODES:
        click.echo(exits.table())
        return
    if topic not in set(Code):
        raise Failure("help", _unknown(topic))
    code = Code(topic)
    entry = CATALOGUE[code]
    lines(
        [
            ("Code", code),
            ("Means", entry.title),
            ("Says", entry.detail),
            ("Try", entry.hint),
            ("HTTP status", str(entry.status)),
            ("Exit code", f"{int(exits.exit_of(code))} ({exits.MEANINGS[exits.exit_of(code)]})"),
        ]
    )


def _unknown(topic: str) -> dict[str, str]:
    found = not_found("topic", topic, [*Code, EXIT_CODES])
    hint = found["hint"].partition("  see")[0].partition("see")[0]
    return {"detail": found["detail"], "hint": hint or f"one of {EXIT_CODES}, {', '.join(sorted(Code))}"}
