"""What surrounds every request: an id, a bound on its body, and an answer even when we are at fault."""

import asyncio
import re
from collections.abc import Callable
from uuid import UUID

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from events.codes import Code
from infra.runtime.clock import Clock
from services.api.core.problems import Problem
from services.api.errors import problem_response

BODY_MAX = 1024 * 1024
BODY_TIMEOUT_S = 10.0

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_QUIET = {"GET", "HEAD", "OPTIONS"}


class Edge:
    """The outermost layer of the application."""

    def __init__(self, app: ASGIApp, new_id: Callable[[], UUID], clock: Clock) -> None:
        self._app = app
        self._new_id = new_id
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, with its id in the log, in problems and in the answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent = Headers(scope=scope).get("x-request-id", "")
        request_id = sent if _REQUEST_ID.fullmatch(sent) else f"req_{self._new_id()}"
        scope.setdefault("state", {})["request_id"] = request_id
        began = self._clock.monotonic()
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Cache-Control"] = "no-store"
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            log = structlog.get_logger()
            try:
                await self._app(scope, await _bounded(scope, receive), answer)
            except Problem as problem:
                await problem_response(problem, request_id)(scope, receive, answer)
            except Exception:
                log.exception("request_failed", method=scope["method"], path=scope["path"])
                if status:
                    raise  # Half an answer is out: all that is left is to end the connection.
                reason = "the request met a defect; nothing is known about what it did"
                failed = problem_response(Problem(Code.INTERNAL, {"reason": reason}), request_id)
                await failed(scope, receive, answer)
            ms = round((self._clock.monotonic() - began) * 1000, 1)
            tell = log.debug if scope["method"] in _QUIET else log.info
            tell("request_served", method=scope["method"], path=scope["path"], status=status, ms=ms)


async def _bounded(scope: Scope, receive: Receive) -> Receive:
    """Read the body whole, within BODY_MAX and BODY_TIMEOUT_S, and give what hands it on."""
    announced = Headers(scope=scope).get("content-length", "0")
    if announced.isdecimal() and int(announced) > BODY_MAX:
        raise _too_large()
    messages: list[Message] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while not messages or messages[-1].get("more_body", False):
                messages.append(await receive())
                size += len(messages[-1].get("body", b""))
                if size > BODY_MAX:
                    raise _too_large()
    except TimeoutError as err:
        reason = f"the body did not arrive within {BODY_TIMEOUT_S:g} s"
        raise Problem(Code.BAD_REQUEST, {"reason": reason}, status=408) from err
    rest = iter(messages)

    async def replay() -> Message:
        message = next(rest, None)
        return await receive() if message is None else message

    return replay


def _too_large() -> Problem:
    reason = f"the body has more than {BODY_MAX} bytes"
    return Problem(Code.BAD_REQUEST, {"reason": reason}, status=413, headers={"Connection": "close"})
