"""Encode and decode what goes over the wire. One place knows every (type, version)."""

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import to_json

from events.commands import Command
from events.envelope import Envelope, Message, Sealed
from events.events import Event
from events.upcasters import LATEST, UPCASTERS, Data

BODY_MAX = 512 * 1024
"""Bytes. Half of what the server takes at most, so that headers and republishing always fit."""


class Undecodable(Exception):
    """Bytes that are no message of ours: broken, of an unknown type, or of a version from the future."""


TYPES: Mapping[str, type[BaseModel]] = {
    cls.TYPE: cls for union in (Command, Event) for cls in get_args(union)
}
_ADAPTERS: Mapping[str, TypeAdapter[Any]] = {name: TypeAdapter(cls) for name, cls in TYPES.items()}


def encode(sealed: Sealed) -> bytes:
    """Write *sealed* as its envelope; ValueError for what nobody could read: a bound is missing somewhere."""
    message, origin = sealed.message, sealed.origin
    envelope = {
        "specversion": "1.0",
        "id": sealed.id,
        "source": origin.source,
        "type": message.TYPE,
        "subject": sealed.subject,
        "time": sealed.time,
        "datacontenttype": "application/json",
        "dataschema": f"/schemas/{message.TYPE}.v{LATEST[message.TYPE]}.json",
        "dataversion": LATEST[message.TYPE],
        "causationid": origin.causation,
        "correlationid": origin.correlation,
        "actor": origin.actor,
        "generation": _generation(message),
        "data": message,
    }
    told = {name: value for name, value in envelope.items() if value is not None}
    body = to_json(told, exclude_none=True, inf_nan_mode="null")
    if len(body) > BODY_MAX:
        raise ValueError(
            f"{message.TYPE} on {sealed.subject} would be {len(body)} bytes, the most is {BODY_MAX}"
        )
    return body


def decode(body: bytes) -> tuple[Envelope, Message]:
    """Read an envelope and its message; raises Undecodable with a reason fit for a person."""
    envelope = decode_envelope(body)
    return envelope, _message(envelope)


def decode_parsed(found: Mapping[str, Any]) -> tuple[Envelope, Message]:
    """The same, of JSON that was parsed already."""
    try:
        envelope = Envelope.model_validate(found)
    except ValidationError as err:
        raise Undecodable(f"no envelope: {_first(err)}") from err
    return envelope, _message(envelope)


def _message(envelope: Envelope) -> Message:
    name, version = envelope.type, envelope.dataversion
    if name not in LATEST:
        raise Undecodable(f"type {name!r} is not known to this release")
    if version > LATEST[name]:
        raise Undecodable(f"{name} version {version} is newer than {LATEST[name]}, the newest known here")
    data: Data = envelope.data
    for step in range(version, LATEST[name]):
        data = UPCASTERS[name, step](data)
    try:
        message: Message = _ADAPTERS[name].validate_python(data)
    except ValidationError as err:
        raise Undecodable(f"{name} version {version}: {_first(err)}") from err
    return message


def decode_envelope(body: bytes) -> Envelope:
    """Read the envelope alone, whatever its type; raises Undecodable."""
    if len(body) > BODY_MAX:
        raise Undecodable(f"{len(body)} bytes, the most is {BODY_MAX}")
    try:
        return Envelope.model_validate_json(body)
    except ValidationError as err:
        raise Undecodable(f"no envelope: {_first(err)}") from err


def same_request(body: bytes, other: bytes) -> bool:
    """Tell whether two stored commands ask for the same thing, whenever and by which retry they were sent."""
    one, two = decode_envelope(body), decode_envelope(other)
    return (one.type, one.data, one.actor) == (two.type, two.data, two.actor)


def _generation(message: Message) -> int | None:
    values: tuple[Any, ...] = (message, getattr(message, "vm", None), getattr(message, "entry", None))
    return next((value.generation for value in values if hasattr(value, "generation")), None)


def _first(err: ValidationError) -> str:
    first = err.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "body"
    return f"{where}: {first['msg']}"
