"""Answer everything that goes wrong as a problem (RFC 9457)."""

from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from events.codes import Code
from infra.runtime.errors import Unavailable
from services.api.core.bodies import ProblemAnswer
from services.api.core.faults import faults, summary
from services.api.core.problems import Problem, answer_of

PROBLEM_JSON = "application/problem+json"


def problem_response(problem: Problem, request_id: str) -> Response:
    """Write *problem*; what does not apply is left out."""
    answer = answer_of(problem, request_id)
    content = answer.model_dump_json(exclude_none=True, exclude=_empty(answer))
    return Response(content, answer.status, problem.headers, PROBLEM_JSON)


def install(app: FastAPI) -> None:
    """Make *app* answer with problems only."""

    @app.exception_handler(Problem)
    async def refused(request: Request, problem: Problem) -> Response:
        return _answer(request, problem)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, err: RequestValidationError) -> Response:
        found = faults(err.errors())
        reason = summary(found)
        return _answer(request, Problem(Code.BAD_REQUEST, {"reason": reason}, errors=found))

    @app.exception_handler(Unavailable)
    async def unavailable(request: Request, err: Unavailable) -> Response:
        # The desk translates the event log's absence itself: what is left are the read models.
        headers = {"Retry-After": "1"}
        return _answer(request, Problem(Code.READ_MODEL_UNAVAILABLE, {"reason": err.why}, headers=headers))

    @app.exception_handler(HTTPException)
    async def refused_by_framework(request: Request, err: HTTPException) -> Response:
        return _answer(request, _translated(request, err))


def _answer(request: Request, problem: Problem) -> Response:
    return problem_response(problem, request.state.request_id)


def _translated(request: Request, err: HTTPException) -> Problem:
    headers: Mapping[str, str] = err.headers or {}
    facts = {"path": request.url.path, "method": request.method}
    match err.status_code:
        case HTTPStatus.NOT_FOUND:
            return Problem(Code.NO_SUCH_ROUTE, facts)
        case HTTPStatus.METHOD_NOT_ALLOWED:
            return Problem(Code.WRONG_METHOD, facts, headers=headers)
        case status:
            return Problem(Code.BAD_REQUEST, {"reason": err.detail}, status=status, headers=headers)


def _empty(answer: ProblemAnswer) -> set[str]:
    return {
        name
        for name in ("refusals", "refused", "failures", "elsewhere", "errors")
        if not getattr(answer, name)
    }
