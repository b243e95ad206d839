"""Say what is wrong with a request, field by field, in words that tell how to mend it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, cast, get_args

from events.codes import Code
from events.machine import LABEL_PATTERN
from events.spec import Bridge, Mac, Printable, Token
from events.values import NAME_PATTERN
from services.api.core.bodies import Fault
from services.api.core.problems import Problem

_Where = Literal["body", "query", "path", "header"]

KEY_PATTERN = r"^[\x21-\x7e]+$"


def _pattern(kind: Any) -> str:
    """Give the pattern of an annotated string of the language."""
    return str(get_args(kind)[1].pattern)


_PATTERNS: Mapping[str, str] = {
    NAME_PATTERN: "use 1 to 63 lower-case letters, digits and hyphens; begin and end with a letter or digit",
    LABEL_PATTERN: "write NAME or NAME=VALUE, as ssd or rack=a; NAME in lower-case letters, digits and -",
    _pattern(Token): "use 1 to 64 letters, digits and ._+- and begin with a letter or digit",
    _pattern(Bridge): "use 1 to 15 letters, digits and ._- and begin with a letter or digit: a bridge's name",
    _pattern(Mac): "use six pairs of lower-case hexadecimal digits such as 52:54:00:12:34:56, none multicast",
    _pattern(Printable): "use printable ASCII characters",
    KEY_PATTERN: "use 1 to 255 visible ASCII characters without spaces",
}


def faults(errors: Iterable[Mapping[str, Any]]) -> tuple[Fault, ...]:
    """Translate pydantic's *errors*, whose first place is where the value came from."""
    return tuple(_fault(error) for error in errors)


def summary(found: Sequence[Fault]) -> str:
    """Say in a sentence what was *found*; each fault is told by itself beside it."""
    names = [fault.pointer.lstrip("/") or f"the {fault.where}" for fault in found]
    if len(found) == 1:
        return f"{names[0]}: {found[0].message}"
    return f"{', '.join(names[:-1])} and {names[-1]} are not valid"


def bad_cursor() -> Problem:
    """Refuse a cursor that no page of this list ends with."""
    fault = Fault(where="query", pointer="/cursor", message="pass the `next_cursor` of the page before")
    return Problem(Code.BAD_REQUEST, {"reason": f"cursor: {fault.message}"}, errors=[fault])


def _fault(error: Mapping[str, Any]) -> Fault:
    first, *rest = error["loc"] or ("body",)
    where = cast(_Where, first if first in get_args(_Where) else "body")
    if error["type"] == "json_invalid":
        return Fault(where="body", pointer="", message=f"this is no JSON: {error['ctx']['error']}")
    return Fault(where=where, pointer="".join(f"/{_escaped(part)}" for part in rest), message=_message(error))


def _message(error: Mapping[str, Any]) -> str:
    if error["type"] == "string_pattern_mismatch":
        pattern = error["ctx"]["pattern"]
        return _PATTERNS.get(pattern, f"must match {pattern}")
    if error["type"] == "extra_forbidden":
        return "there is no such field"
    if error["type"] == "missing":
        return "is needed"
    text = str(error["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    return text[:1].lower() + text[1:]


def _escaped(part: object) -> str:
    return str(part).replace("~", "~0").replace("/", "~1")
