"""Read what lies in the log. Whatever comes out of here can be stored; all else is refused with a reason."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import MAXYEAR, MINYEAR, UTC
from typing import Any
from uuid import UUID

from pydantic_core import from_json

from events import subjects
from events.codec import BODY_MAX, Undecodable, decode, decode_envelope, decode_parsed
from events.commands import Command
from events.envelope import Envelope, Message
from events.ids import CommandId, Seq
from events.places import in_place
from events.views import LoggedEvent
from services.projector.core.about import NOBODY, About, about, about_subject

BIGINT_END = 2**63
"""Numbers in a message are below this: the bigint columns of the rows hold no more."""

_LARGE = re.compile(rb"[:,\[]\s*-?(?:\d{19}|[\d.]+[eE])")
"""A number that may be beyond those bounds, or a text that looks like one: most bodies hold neither."""
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


@dataclass(frozen=True, slots=True)
class Seen:
    """A message that could be read, where it was found."""

    seq: Seq
    subject: str
    envelope: Envelope
    message: Message
    body: Mapping[str, Any]
    """The envelope as it came, with whatever a newer writer has put into it."""
    where: About
    """Whom its subject names."""
    said: About
    """Whom the message speaks of."""


def read(seq: Seq, subject: str, body: bytes) -> Seen:
    """Read one message; raises Undecodable with a reason fit for a person.

    A message on a subject that is not its own was written by somebody who may not say such a thing (a host
    may write anything onto its own subjects): it is refused as well.
    """
    found = _json_object(body)
    envelope, message = decode(body) if found is None else decode_parsed(found)
    if found is None or not _has_utc(envelope):
        raise Undecodable(f"{envelope.type}: holds a character, number or time that no table can hold")
    where = about_subject(subject)
    if not _is_its_own(subject, where, envelope, message):
        raise Undecodable(f"{envelope.type}: does not belong on {subject}")
    return Seen(seq, subject, envelope, message, found, where, about(message))


def logged(*, seq: Seq, subject: str, event_id: UUID | None, body: bytes, seen: Seen | None) -> LoggedEvent:
    """Describe one event of EVT for the history; where it is not *seen*, as far as it can be read at all.

    *event_id* is the header's, for where the body tells none.
    """
    found = seen.body if seen is not None else _json_object(body)
    envelope = seen.envelope if seen is not None else _envelope(body, found)
    where, said = (seen.where, seen.said) if seen is not None else (about_subject(subject), NOBODY)
    return LoggedEvent(
        seq=seq,
        subject=subject,
        event_id=envelope.id if envelope else event_id,
        type=envelope.type if envelope else None,
        time=envelope.time if envelope else None,
        actor=envelope.actor if envelope else None,
        causation_id=envelope.causationid if envelope else None,
        correlation_id=envelope.correlationid if envelope else None,
        vm_id=where.vm_id or said.vm_id,
        host_id=where.host_id or said.host_id,
        body=None if found is None else dict(found),
    )


def _envelope(body: bytes, found: Mapping[str, Any] | None) -> Envelope | None:
    try:
        envelope = decode_envelope(body)
    except Undecodable:
        return None
    return envelope if found is not None and _has_utc(envelope) else None


def _json_object(body: bytes) -> dict[str, Any] | None:
    """Parse *body* if it is no longer than ours are, and a JSON object that jsonb, text and bigint can hold.

    They hold no NUL and no lone surrogate (PostgreSQL manual, 8.14), no infinity, nothing beyond 64 bits.
    """
    if len(body) > BODY_MAX:
        return None
    try:
        found = from_json(body, allow_inf_nan=False)
    except ValueError:
        return None
    if not isinstance(found, dict) or (_LARGE.search(body) and not _within_bounds(found)):
        return None
    # Either can be there only as an escape: as they are, no JSON holds the one, no UTF-8 the other.
    return found if b"\\u" not in body or _is_text(found) else None


def _is_text(found: Mapping[str, Any]) -> bool:
    try:
        text = json.dumps(found, ensure_ascii=False)
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\\u0000" not in text or not _NUL.search(text)


def _within_bounds(value: object) -> bool:
    match value:
        case str():
            return True
        case dict():
            return all(map(_within_bounds, value.values()))
        case list():
            return all(map(_within_bounds, value))
        case int() | float():
            return -BIGINT_END <= value < BIGINT_END
        case _:
            return True


def _has_utc(envelope: Envelope) -> bool:
    """Tell whether the time can be told in UTC: near the years 1 and 9999 not every time zone's can."""
    if MINYEAR < envelope.time.year < MAXYEAR:
        return True
    try:
        envelope.time.astimezone(UTC)
    except OverflowError:
        return False
    return True


def _is_its_own(subject: str, about_it: About, envelope: Envelope, message: Message) -> bool:
    if isinstance(message, Command):
        return subject == subjects.command(message.vm_id, CommandId(envelope.id))
    try:
        where = subjects.parse_event(subject)
    except ValueError:
        return False
    # The rows need the id of what an event is about, and some messages leave it to their subject.
    named = where.kind in {"claim", "group"} or about_it != NOBODY
    return named and in_place(where, message)
