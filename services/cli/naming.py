"""Find what a person names: by name, by id, or by the beginning of an id."""

import re
from collections.abc import Mapping, Sequence

from services.cli.client import Body, Client
from services.cli.core.complaint import ambiguous, not_found
from services.cli.core.exits import Exit
from services.cli.failure import Failure

LOOKED_AT_MOST = 50_000
"""Things that are looked through for the beginning of an id, or for a name that is close."""
RECENT_MOST = 2_000
PREFIX_LEAST = 8

_WHOLE = re.compile(r"(vm|host|op)_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def vm_id(client: Client, doing: str, wanted: str) -> str:
    """Give the id of the VM *wanted*; raises Failure."""
    if _WHOLE.fullmatch(wanted):
        return wanted
    if not wanted.startswith("vm_"):
        named = client.get(doing, "/vms", name=wanted)["items"]
        if named:
            return str(named[0]["id"])
    return _one(doing, "vm", wanted, client.pages(doing, "/vms", LOOKED_AT_MOST))


def host_id(client: Client, doing: str, wanted: str) -> str:
    """Give the id of the host *wanted*; raises Failure."""
    if _WHOLE.fullmatch(wanted):
        return wanted
    hosts = client.pages(doing, "/hosts", LOOKED_AT_MOST)
    named = [str(host["id"]) for host in hosts if host["name"] == wanted]
    return named[0] if len(named) == 1 else _one(doing, "host", wanted, hosts)


def host_names(client: Client, doing: str) -> Mapping[str, str]:
    """Give the names of all hosts by their ids; raises Failure."""
    return {str(one["id"]): str(one["name"]) for one in client.pages(doing, "/hosts", LOOKED_AT_MOST)}


def operation_id(client: Client, doing: str, wanted: str) -> str:
    """Give the id of the operation *wanted*, of the recent ones if it is cut short; raises Failure."""
    if _WHOLE.fullmatch(wanted):
        return wanted
    return _one(doing, "operation", wanted, client.pages(doing, "/operations", RECENT_MOST))


def _one(doing: str, kind: str, wanted: str, things: Sequence[Body]) -> str:
    begun = [str(one["id"]) for one in things if _begins(str(one["id"]), wanted)]
    if len(begun) == 1:
        return begun[0]
    if begun:
        raise Failure(doing, ambiguous(kind, wanted, begun), Exit.CONFLICT)
    raise Failure(doing, not_found(kind, wanted, [str(one["name"]) for one in things if "name" in one]))


def _begins(id_: str, wanted: str) -> bool:
    own = wanted.rpartition("_")[2]
    return len(own) >= PREFIX_LEAST and (id_.startswith(wanted) or id_.partition("_")[2].startswith(wanted))
