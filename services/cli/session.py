"""What one call of `roost` was asked to do: where, as whom, and how to show it."""

from dataclasses import dataclass
from typing import Any

import click

from services.cli.client import Client
from services.cli.settings import server_url, token

FORMATS = ("table", "json", "yaml")


@dataclass
class Session:
    """Filled by options as click meets them; the innermost `-o` wins."""

    url: str | None = None
    output: str = "table"
    debug: bool = False

    @property
    def client(self) -> Client:
        """The API, as the options, the environment and the folder say."""
        return Client(server_url(self.url), token())


needs_session = click.make_pass_decorator(Session)


def _keep_output(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.ensure_object(Session).output = value


def output_option(command: Any) -> Any:
    """Give a command `-o`."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(FORMATS),
        callback=_keep_output,
        expose_value=False,
        is_eager=True,  # a usage error later in the line is told in this format, too
        help="How to show the answer.  [default: table]",
    )(command)
