"""The exit codes: documented, stable, and the same for every command."""

from collections.abc import Mapping
from enum import IntEnum

from events.codes import Code


class Exit(IntEnum):
    """How a command ended."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4
    DENIED = 5
    UNREACHABLE = 6
    STILL_RUNNING = 7
    NO_PLACE = 8
    INTERRUPTED = 130


MEANINGS: Mapping[Exit, str] = {
    Exit.OK: "done",
    Exit.FAILED: "the operation failed",
    Exit.USAGE: "the command or the request is not valid",
    Exit.NOT_FOUND: "there is no such VM, host or operation",
    Exit.CONFLICT: "not possible as things are: name taken, wrong phase, overtaken",
    Exit.DENIED: "not signed in, or not allowed",
    Exit.UNREACHABLE: "the server cannot be reached, or cannot reach what it needs",
    Exit.STILL_RUNNING: "the wait timed out; the operation goes on",
    Exit.NO_PLACE: "no host fits",
    Exit.INTERRUPTED: "interrupted; an operation that was accepted goes on",
}

_OF_CODE: Mapping[str, Exit] = {
    Code.BAD_REQUEST: Exit.USAGE,
    Code.NO_SUCH_VM: Exit.NOT_FOUND,
    Code.NO_SUCH_HOST: Exit.NOT_FOUND,
    Code.NO_SUCH_OPERATION: Exit.NOT_FOUND,
    Code.NO_SUCH_ROUTE: Exit.NOT_FOUND,
    Code.NO_STATISTICS: Exit.CONFLICT,
    Code.NAME_TAKEN: Exit.CONFLICT,
    Code.WRONG_PHASE: Exit.CONFLICT,
    Code.INVALID_SPEC: Exit.USAGE,
    Code.CANNOT_RENAME: Exit.USAGE,
    Code.TOO_MANY_PENDING: Exit.CONFLICT,
    Code.SUPERSEDED: Exit.CONFLICT,
    Code.KEY_REUSED: Exit.CONFLICT,
    Code.UNAUTHENTICATED: Exit.DENIED,
    Code.FORBIDDEN: Exit.DENIED,
    Code.LOG_UNAVAILABLE: Exit.UNREACHABLE,
    Code.READ_MODEL_UNAVAILABLE: Exit.UNREACHABLE,
    Code.LOG_FULL: Exit.UNREACHABLE,
    Code.NO_HOST_FITS: Exit.NO_PLACE,
}


def exit_of(code: str) -> Exit:
    """Give the exit code of a problem; whatever has none of its own is a failure."""
    return _OF_CODE.get(code, Exit.FAILED)


def table() -> str:
    """List all exit codes for people."""
    return "\n".join(f"  {int(code):>3}  {meaning}" for code, meaning in MEANINGS.items())
