"""Turn a code and its facts into a problem that reads well."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from events import codes
from events.codes import CATALOGUE, Code
from events.events import Refusal
from services.api.core.bodies import Fault, ProblemAnswer, ProblemBody

_REFUSALS = TypeAdapter(list[Refusal])


class Problem(Exception):
    """The one way in which the API says no."""

    def __init__(
        self,
        code: Code,
        facts: Mapping[str, Any],
        *,
        status: int | None = None,
        operation: str | None = None,
        errors: Sequence[Fault] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(code)
        self.code = code
        self.facts = facts
        self.status = status
        """In place of the catalogue's, where HTTP has a more exact one."""
        self.operation = operation
        self.errors = errors
        self.headers = dict(headers or {})


def body_of(code: Code, facts: Mapping[str, Any]) -> ProblemBody:
    """Say what *code* means with these *facts*."""
    told = {name: _told(value) for name, value in facts.items()}
    return ProblemBody(
        type=f"/docs/errors#{code}",
        title=CATALOGUE[code].title,
        status=CATALOGUE[code].status,
        detail=codes.detail(code, told),
        code=code,
        hint=codes.hint(code, told),
        refusals=_refusals(facts),
    )


def answer_of(problem: Problem, request_id: str) -> ProblemAnswer:
    """Say *problem* in answer to a request."""
    body = body_of(problem.code, problem.facts).model_dump()
    if problem.status is not None:
        body["status"] = problem.status
    return ProblemAnswer(
        **body, request_id=request_id, operation=problem.operation, errors=list(problem.errors)
    )


def _told(value: object) -> object:
    if isinstance(value, list | tuple):
        return ", ".join(str(one) for one in value) or "nothing"
    return value


def _refusals(facts: Mapping[str, Any]) -> list[Refusal]:
    try:
        return _REFUSALS.validate_python(facts.get("refusals", []))
    except ValidationError:
        return []  # A newer scheduler may say more than we can show; the sentence stands without it.
