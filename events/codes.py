"""The one catalogue of reasons to say no: API, command line, console and docs all read it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Code(StrEnum):
    """Every reason that a person or a program can meet."""

    ALREADY_SO = "already_so"
    NAME_TAKEN = "name_taken"
    NO_SUCH_VM = "no_such_vm"
    NO_SUCH_HOST = "no_such_host"
    NO_SUCH_OPERATION = "no_such_operation"
    NO_STATISTICS = "no_statistics"
    NO_SUCH_ROUTE = "no_such_route"
    WRONG_METHOD = "wrong_method"
    WRONG_PHASE = "wrong_phase"
    NO_HOST_FITS = "no_host_fits"
    INVALID_SPEC = "invalid_spec"
    CANNOT_RENAME = "cannot_rename"
    TOO_MANY_PENDING = "too_many_pending"
    HYPERVISOR_REFUSED = "hypervisor_refused"
    ACTION_REFUSED = "action_refused"
    GUEST_STOPPED = "guest_stopped"
    SUPERSEDED = "superseded"
    UNREADABLE_COMMAND = "unreadable_command"
    UNREADABLE_STATE = "unreadable_state"
    BAD_REQUEST = "bad_request"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    KEY_REUSED = "key_reused"
    LOG_UNAVAILABLE = "log_unavailable"
    READ_MODEL_UNAVAILABLE = "read_model_unavailable"
    LOG_FULL = "log_full"
    INTERNAL = "internal"


@dataclass(frozen=True)
class Entry:
    """What a code means: *title* never changes, *detail* and *hint* are filled from the facts."""

    title: str
    status: int
    """The HTTP status where the API answers with this code itself."""
    detail: str
    hint: str


CATALOGUE: Mapping[Code, Entry] = {
    Code.ALREADY_SO: Entry(
        "Nothing to do",
        200,
        "the VM is {phase} already",
        "nothing was changed; look at it with `roost vm show`",
    ),
    Code.NAME_TAKEN: Entry(
        "The name is taken",
        409,
        "a VM named {name} exists ({owner})",
        "choose another name, or delete that VM first",
    ),
    Code.NO_SUCH_VM: Entry("No such VM", 404, "no VM {vm}", "see `roost vm list`"),
    Code.NO_SUCH_HOST: Entry("No such host", 404, "no host {host}", "see `roost host list`"),
    Code.NO_SUCH_OPERATION: Entry(
        "No such operation", 404, "no operation {operation}", "see `roost op list`"
    ),
    Code.NO_STATISTICS: Entry(
        "No statistics",
        404,
        "nothing was heard of {what} in the last {seconds} s",
        "only what runs has statistics: see `roost vm list` and `roost host list`, then ask again",
    ),
    Code.NO_SUCH_ROUTE: Entry("No such path", 404, "nothing answers at {path}", "see /api/v1/openapi.json"),
    Code.WRONG_METHOD: Entry(
        "The method is not allowed here",
        405,
        "{method} is not answered at {path}",
        "see /api/v1/openapi.json",
    ),
    Code.WRONG_PHASE: Entry(
        "Not in this phase",
        409,
        "{verb} is not possible while the VM is {phase}",
        "possible now: {allowed}",
    ),
    Code.NO_HOST_FITS: Entry(
        "No host fits",
        409,
        "none of {considered} hosts can take {vcpus} vCPUs and {memory_mib} MiB",
        "stop a VM, ask or wish for less, or add a host; the refusals say what each host lacks",
    ),
    Code.INVALID_SPEC: Entry(
        "The change does not make a valid VM",
        422,
        "{reason}",
        "nothing was changed; `roost vm show` tells what the VM is now: change what depends on it as well",
    ),
    Code.CANNOT_RENAME: Entry(
        "A VM keeps its name",
        422,
        "{name} cannot become {wanted}",
        "leave the name out; a VM of another name is a new VM",
    ),
    Code.TOO_MANY_PENDING: Entry(
        "Too many commands wait on this VM",
        409,
        "{pending} commands wait already, the most is {most}",
        "wait for them: `roost op list`",
    ),
    Code.HYPERVISOR_REFUSED: Entry(
        "The hypervisor refused",
        502,
        "{host} could not start the VM: {message}",
        "the VM is stopped and nothing is reserved; mend what the message names, then start it again",
    ),
    Code.ACTION_REFUSED: Entry(
        "The hypervisor refused the action",
        502,
        "{host} could not {verb} the VM: {message}",
        "the VM is as it was; `roost vm show` tells how it is, then ask again or for something else",
    ),
    Code.GUEST_STOPPED: Entry(
        "The VM stopped before it was up",
        409,
        "the VM stopped on {host} ({cause})",
        "look at its console log on that host",
    ),
    Code.SUPERSEDED: Entry(
        "Another command took over",
        409,
        "{verb} was overtaken by operation {by}",
        "look at the VM with `roost vm show`, then ask again if you still want it",
    ),
    Code.UNREADABLE_COMMAND: Entry(
        "The command could not be read",
        400,
        "{reason}",
        "it was kept on the DEAD stream with this reason; send it again through the API",
    ),
    Code.UNREADABLE_STATE: Entry(
        "The VM's last event cannot be read",
        500,
        "{reason}",
        "no decision is taken on what cannot be read; upgrade the scheduler to the release that wrote it",
    ),
    Code.BAD_REQUEST: Entry("The request is not valid", 422, "{reason}", "mend the fields named in `errors`"),
    Code.UNAUTHENTICATED: Entry(
        "Not signed in",
        401,
        "{reason}",
        "send `Authorization: Bearer TOKEN`; the command line reads ROOST_TOKEN or the token file",
    ),
    Code.FORBIDDEN: Entry(
        "Not allowed", 403, "{principal} may not {action}", "ask an administrator for a role that may"
    ),
    Code.KEY_REUSED: Entry(
        "The idempotency key was used for something else",
        422,
        "the key was first sent with another request",
        "nothing was done; send a new key with a new request",
    ),
    Code.LOG_UNAVAILABLE: Entry(
        "The event log cannot be reached",
        503,
        "{reason}",
        "send the same request with the same Idempotency-Key again; it is carried out once in all",
    ),
    Code.READ_MODEL_UNAVAILABLE: Entry(
        "The read model cannot be reached",
        503,
        "{reason}",
        "no VM is affected and commands are still accepted; try again in a moment",
    ),
    Code.LOG_FULL: Entry(
        "The event log is full",
        507,
        "{reason}",
        "nothing was stored; give the stream more room (max_bytes) before anything else",
    ),
    Code.INTERNAL: Entry(
        "A defect in roost",
        500,
        "{reason}",
        "the log has the trace under this request id; please report it",
    ),
}


def detail(code: Code, facts: Mapping[str, Any]) -> str:
    """Say what happened, with the numbers; a fact that is missing shows as `?`, never as an error."""
    return CATALOGUE[code].detail.format_map(_Facts(facts))


def hint(code: Code, facts: Mapping[str, Any]) -> str:
    """Say what to try next."""
    return CATALOGUE[code].hint.format_map(_Facts(facts))


class _Facts(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return "?"
