"""The entry of `roost`: find the command, run it, and turn what went wrong into words and a number."""

import sys
import traceback

import click

from services.cli.about import help_, version
from services.cli.core.complaint import complaint
from services.cli.core.exits import Exit, table
from services.cli.dispatch import PROGRAMS, dispatcher
from services.cli.event import events
from services.cli.failure import Failure
from services.cli.host import host
from services.cli.operation import op
from services.cli.printing import document
from services.cli.session import Session, output_option
from services.cli.statistics import host_stats, vm_stats
from services.cli.vm import vm

EPILOG = f"""\b
Exit codes:
{table()}

The token is read from ROOST_TOKEN, from the file ROOST_TOKEN_FILE, or from .roost-dev/token."""


@click.group(
    epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option(
    "--url", metavar="URL", help="The API.  [env: ROOST_URL; default: .roost-dev/url, else port 8080]"
)
@click.option("--debug", is_flag=True, help="Show the trace of what goes wrong.")
@output_option
@click.pass_obj
def cli(session: Session, url: str | None, *, debug: bool) -> None:
    """Run virtual machines on a fleet of hosts."""
    session.url, session.debug = url, debug


vm.add_command(vm_stats)
host.add_command(host_stats)
for _command in (vm, host, op, events, version, help_):
    cli.add_command(_command)
for _name in PROGRAMS:
    cli.add_command(dispatcher(_name))


def main() -> None:
    """Run `roost` with the arguments of this process."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line; give the exit code."""
    session = Session()
    try:
        result = cli.main(arguments, prog_name="roost", standalone_mode=False, obj=session)
        sys.stdout.flush()
    except Failure as failure:
        return _fail(session, failure)
    except click.ClickException as err:
        err.show()
        return Exit.USAGE
    except (KeyboardInterrupt, click.Abort):
        sys.stderr.write("\ninterrupted\n")
        return Exit.INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # Whoever read us has seen enough; Python would complain while it ends.
        return Exit.OK
    except Exception as err:  # noqa: BLE001 - the last door: words and a number, no trace unless asked
        if session.debug:
            traceback.print_exc()
        sys.stderr.write(f"error: a defect in roost: {type(err).__name__}: {err}\n")
        sys.stderr.write(
            "try:   the same with --debug before the command shows the trace; please report it\n"
        )
        return Exit.FAILED
    return result if isinstance(result, int) else Exit.OK


def _fail(session: Session, failure: Failure) -> int:
    if session.debug:
        traceback.print_exc()
    if session.output == "table":
        sys.stderr.write(f"{complaint(failure.doing, failure.problem)}\n")
    else:
        document(session.output, dict(failure.problem))
    return failure.exit_code


if __name__ == "__main__":
    main()
