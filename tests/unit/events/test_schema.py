"""A change that would break a reader of the older schema is found; an added optional field is none."""

from enum import StrEnum

import pytest
from pydantic import BaseModel, create_model

from events.codec import TYPES
from events.schema import breaking_changes, schemas


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Red(StrEnum):
    RED = "red"


class Inner(BaseModel):
    colour: Colour
    size: int = 0


OLD = create_model("Thing", name=(str, ...), inner=(Inner, ...), more=(list[Inner] | None, None))


def losses(**fields: object) -> tuple[str, ...]:
    """What a reader of OLD loses in a Thing of *fields*."""
    same: dict[str, object] = {"name": (str, ...), "inner": (Inner, ...), "more": (list[Inner] | None, None)}
    kept = {name: field for name, field in (same | fields).items() if field is not None}
    new: type[BaseModel] = create_model("Thing", **kept)  # type: ignore[call-overload]
    return breaking_changes(
        OLD.model_json_schema(mode="serialization"), new.model_json_schema(mode="serialization")
    )


def test_the_same_schema_breaks_nothing() -> None:
    assert losses() == ()


def test_an_added_optional_field_breaks_nothing() -> None:
    assert losses(added=(int | None, None)) == ()


def test_an_added_choice_breaks_nothing() -> None:
    old, new = create_model("Thing", colour=(Red, ...)), create_model("Thing", colour=(Colour, ...))
    assert breaking_changes(old.model_json_schema(), new.model_json_schema()) == ()


class Redder(BaseModel):
    colour: Red
    size: int = 0


class Sizeless(BaseModel):
    colour: Colour


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"name": None}, "$.name: is gone"),
        ({"name": (int, ...)}, "$.name: type 'string' became 'integer'"),
        ({"name": (str | None, None)}, "$.name: is no longer always there"),
        ({"inner": (Redder, ...)}, "$.inner.colour"),
        ({"inner": (Sizeless, ...)}, "$.inner.size: is gone"),
        ({"more": (list[Sizeless] | None, None)}, "size: is gone"),
    ],
)
def test_what_a_reader_would_miss_is_named(changed: dict[str, object], said: str) -> None:
    assert any(said in loss for loss in losses(**changed)), losses(**changed)


def test_every_type_has_a_schema_that_equals_itself() -> None:
    assert len(schemas()) == len(TYPES)
    assert all(breaking_changes(schema, schema) == () for schema in schemas().values())
