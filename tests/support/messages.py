"""Build any value of the language for Hypothesis, from the types alone."""

from collections.abc import Mapping
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from uuid import UUID

import annotated_types as at
from hypothesis import strategies as st
from pydantic import BaseModel, StringConstraints, ValidationError
from pydantic.fields import FieldInfo

NUMBER_MAX = 2**31 - 1
JSON = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.booleans(), max_size=2)


def messages(cls: type[BaseModel]) -> st.SearchStrategy[Any]:
    """Build instances of *cls*: each field within its own limits, all of them as *cls* allows."""
    fields = st.fixed_dictionaries({name: _field(field) for name, field in cls.model_fields.items()})
    return fields.map(lambda given: _made(cls, given)).filter(lambda made: made is not None)


def _made(cls: type[BaseModel], given: Mapping[str, Any]) -> BaseModel | None:
    try:
        return cls(**given)
    except ValidationError:
        return None


def _field(field: FieldInfo) -> st.SearchStrategy[Any]:
    return _of(field.annotation, field.metadata)


def _of(kind: Any, limits: list[Any]) -> st.SearchStrategy[Any]:
    kind = getattr(kind, "__supertype__", kind)
    match get_origin(kind):
        case None:
            return _plain(kind, limits)
        case origin if origin is Annotated:
            return _of(get_args(kind)[0], list(get_args(kind)[1:]))
        case origin if origin is Literal:
            return st.sampled_from(get_args(kind))
        case origin if origin in {Union, UnionType}:
            return st.one_of([st.none() if one is NoneType else _of(one, limits) for one in get_args(kind)])
        case origin if origin is tuple:
            return st.lists(_of(get_args(kind)[0], []), max_size=2).map(tuple)
        case origin if origin is dict:
            return JSON
        case _:
            raise TypeError(f"teach this file how to build {kind}")


def _plain(kind: Any, limits: list[Any]) -> st.SearchStrategy[Any]:
    low = next((int(limit.ge) for limit in limits if isinstance(limit, at.Ge)), 0)  # type: ignore[call-overload]
    high = next((int(limit.le) for limit in limits if isinstance(limit, at.Le)), NUMBER_MAX)  # type: ignore[call-overload]
    pattern = next((one.pattern for one in limits if isinstance(one, StringConstraints)), None)
    plain: Mapping[type, st.SearchStrategy[Any]] = {
        bool: st.booleans(),
        int: st.integers(low, high),
        float: st.floats(low, high),
        str: st.from_regex(pattern, fullmatch=True, alphabet="ab0-:") if pattern else st.text(max_size=20),
        UUID: st.uuids(),
    }
    if kind in plain:
        return plain[kind]
    if issubclass(kind, Enum):
        return st.sampled_from(kind)
    return messages(kind)
