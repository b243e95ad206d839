"""What the routes share: the parameters of commands and lists, and the problems each may answer with."""

from typing import Annotated, Any

from fastapi import Depends, Header, Query, Request, Response

from events.codes import CATALOGUE, Code
from events.commands import Command
from events.ids import VmId
from events.views import OperationView
from infra.runtime.errors import Unavailable
from services.api.core import ids
from services.api.core.bodies import OperationDetail, ProblemAnswer
from services.api.core.faults import KEY_PATTERN
from services.api.core.problems import Problem
from services.api.core.render import operation_detail
from services.api.desk import Ask, Check, anything
from services.api.lookup import steps_of
from services.api.parts import Parts, PartsNeeded

WAIT_S_MAX = 60.0
PAGE_DEFAULT, PAGE_MOST = 100, 500
KEY_MAX = 255

_ALWAYS = (Code.UNAUTHENTICATED, Code.FORBIDDEN, Code.BAD_REQUEST, Code.INTERNAL)
_READING = (*_ALWAYS, Code.READ_MODEL_UNAVAILABLE)
_COMMANDING = (*_ALWAYS, Code.KEY_REUSED, Code.LOG_UNAVAILABLE, Code.LOG_FULL)

Responses = dict[int | str, dict[str, Any]]
Wait = Annotated[
    float, Query(ge=0, le=WAIT_S_MAX, description="Seconds to wait for the operation's end; 0: do not wait.")
]
Limit = Annotated[int, Query(ge=1, le=PAGE_MOST, description="The most items that one page holds.")]
Cursor = Annotated[str | None, Query(description="The `next_cursor` of the page before.")]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=KEY_MAX,
        pattern=KEY_PATTERN,
        description="The same key means the same command, however often it is sent.",
    ),
]


def reading(*codes: Code) -> Responses:
    """Describe the problems of a route that reads."""
    return _described(*_READING, *codes)


def commanding(*codes: Code) -> Responses:
    """Describe the problems of a route that takes a command, and where its operation is found."""
    location = {"description": "The operation.", "schema": {"type": "string"}}
    accepted: dict[str, Any] = {
        "description": "Accepted: the operation, ended if that came within `wait`.",
        "headers": {"Location": location, "Idempotency-Key": {**location, "description": "The key in use."}},
    }
    return {202: accepted} | _described(*_COMMANDING, *codes)


async def ask_of(request: Request, parts: PartsNeeded, wait: Wait = 0, idempotency_key: Key = None) -> Ask:
    """Read what every command is asked with; without a key one is drawn."""
    return Ask(request.state.principal, idempotency_key or f"drawn-{parts.new_id()}", wait)


Asked = Annotated[Ask, Depends(ask_of)]


async def accept(
    parts: Parts, response: Response, ask: Ask, command: Command, check: Check = anything
) -> OperationDetail:
    """Hand *command* in and answer with its operation and where to find it."""
    operation = await parts.desk.take(ask, command, check)
    response.headers["Location"] = f"/api/v1/operations/{ids.show_operation(operation.operation_id)}"
    response.headers["Idempotency-Key"] = ask.key
    return await _detail(parts, operation)


def vm_id_of(text: str) -> VmId:
    """Read the id of the VM that a command is for; raises Problem no_such_vm."""
    found = ids.read_vm(text)
    if found is None:
        raise Problem(Code.NO_SUCH_VM, {"vm": text})
    return found


async def _detail(parts: Parts, operation: OperationView) -> OperationDetail:
    try:
        return operation_detail(operation, await steps_of(parts.reads, operation))
    except Unavailable:
        return operation_detail(operation, ())  # Accepted is accepted; the steps can be read later.


def _described(*codes: Code) -> Responses:
    by_status: dict[int, list[Code]] = {}
    for code in sorted(set(codes), key=lambda one: (CATALOGUE[one].status, one)):
        by_status.setdefault(CATALOGUE[code].status, []).append(code)
    return {
        status: {"model": ProblemAnswer, "description": ", ".join(f"`{code}`" for code in found)}
        for status, found in by_status.items()
    }
