"""Turn a code and its facts into a problem that reads well."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from events import codes
from events.codes import CATALOGUE, Code
from events.effective import StartFailure
from events.events import Refusal
from services.api.core.bodies import FailedElsewhere, Fault, ProblemAnswer, ProblemBody

T = TypeVar("T")

_REFUSALS = TypeAdapter(list[Refusal])
_ELSEWHERE = TypeAdapter(list[FailedElsewhere])
_COUNTS = TypeAdapter(dict[str, int])
_FAILURES = TypeAdapter(list[StartFailure])


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
    told = {name: _told(name, value) for name, value in facts.items()}
    return ProblemBody(
        type=f"/docs/errors#{code}",
        title=CATALOGUE[code].title,
        status=CATALOGUE[code].status,
        detail=codes.detail(code, told),
        code=code,
        hint=codes.hint(code, told),
        refusals=_listed(_REFUSALS, facts.get("refusals", [])),
        refused=_counts(facts.get("refused", {})),
        failures=_listed(_FAILURES, facts.get("failures", [])),
        elsewhere=_listed(_ELSEWHERE, facts.get("elsewhere", [])),
    )


def answer_of(problem: Problem, request_id: str) -> ProblemAnswer:
    """Say *problem* in answer to a request."""
    body = body_of(problem.code, problem.facts).model_dump()
    if problem.status is not None:
        body["status"] = problem.status
    return ProblemAnswer(
        **body, request_id=request_id, operation=problem.operation, errors=list(problem.errors)
    )


def _told(name: str, value: object) -> object:
    """Write a fact for people; a verb as the paths of the API and the command line spell it."""
    if isinstance(value, list | tuple):
        return ", ".join(str(_told(name, one)) for one in value) or "nothing"
    return value.replace("_", "-") if name in {"verb", "allowed"} and isinstance(value, str) else value


def _counts(facts: object) -> dict[str, int]:
    try:
        return _COUNTS.validate_python(facts)
    except ValidationError:
        return {}


def _listed(adapter: TypeAdapter[list[T]], facts: object) -> list[T]:
    try:
        return adapter.validate_python(facts)
    except ValidationError:
        return []  # A newer scheduler may say more than we can show; the sentence stands without it.
