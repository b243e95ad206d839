"""The options that say where a VM may start, and where it would rather."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any

import click

from services.cli import naming
from services.cli.client import Body, Client

_OPTIONS = (
    click.option(
        "--require-label",
        "require_labels",
        multiple=True,
        metavar="LABEL",
        help="Only on hosts with this label.",
    ),
    click.option(
        "--forbid-label",
        "forbid_labels",
        multiple=True,
        metavar="LABEL",
        help="Never on hosts with this label.",
    ),
    click.option(
        "--on-host", "hosts", multiple=True, metavar="HOST", help="Only on this host, at each start."
    ),
    click.option(
        "--prefer-host",
        "prefer_hosts",
        multiple=True,
        metavar="HOST",
        help="On this host, if that can take it.",
    ),
    click.option(
        "--apart", multiple=True, metavar="GROUP", help="Never on a host with another VM of this group."
    ),
    click.option(
        "--together", multiple=True, metavar="GROUP", help="Only on the host of all other VMs of this group."
    ),
    click.option(
        "--rather-apart",
        multiple=True,
        metavar="GROUP",
        help="Apart from VMs of this group, where that can be.",
    ),
    click.option(
        "--rather-together", multiple=True, metavar="GROUP", help="With VMs of this group, where that can be."
    ),
)
_FIELDS = ("require_labels", "forbid_labels", "hosts", "prefer_hosts")
_RULES = ("apart", "together", "rather_apart", "rather_together")


@dataclass(frozen=True)
class Wishes:
    """What was given of these options."""

    given: Body

    def body(self, client: Client, doing: str, *, forget: bool = False) -> Body:
        """Give them as the API takes them, with the ids of hosts; *forget*: and nothing else that was wished.

        Raises Failure.
        """
        hosts = {
            field: [naming.host_id(client, doing, host) for host in self.given[field]]
            for field in ("hosts", "prefer_hosts")
            if field in self.given
        }
        nothing: Body = {name: None for name in (*_FIELDS, "groups") if forget}
        placement = nothing | self.given | hosts
        return {"placement": placement} if placement else {}


def wishes_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that tell where a VM may start; it gets them as one `wishes`."""

    @wraps(command)
    def gathered(*args: object, **rest: Any) -> None:
        given: Body = {name: list(some) for name in _FIELDS if (some := rest.pop(name))}
        groups = [_group(rule, name) for rule in _RULES for name in rest.pop(rule)]
        command(*args, wishes=Wishes(given | ({"groups": groups} if groups else {})), **rest)

    for option in reversed(_OPTIONS):
        gathered = option(gathered)
    return gathered


def host_ids(spec: Body) -> Sequence[str]:
    """Name the hosts that a VM's wishes speak of."""
    return [*spec["placement"]["hosts"], *spec["placement"]["prefer_hosts"]]


def _group(rule: str, name: str) -> Body:
    return {"name": name, "rule": rule.removeprefix("rather_"), "hard": not rule.startswith("rather_")}
