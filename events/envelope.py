"""The envelope: a structured CloudEvents 1.0 document (cloudevents.io, JSON event format 1.0.2).

Attribute names are lower case without separators because that specification demands it.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from events.commands import Command
from events.events import Event
from events.ids import EventId

Message = Command | Event


class Envelope(BaseModel):
    """One message as it lies in the log; *data* is decoded by `events.codec`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    specversion: Literal["1.0"] = "1.0"
    id: UUID
    source: str
    """Who wrote it: `roost/<service>` or `roost/host/<id>`."""
    type: str
    subject: str
    """The subject of the log that it was written to."""
    time: AwareDatetime
    datacontenttype: Literal["application/json"] = "application/json"
    dataschema: str
    dataversion: int = Field(ge=1)
    causationid: UUID | None = None
    """The command or event that led to this one; the operation's id wherever there is an operation."""
    correlationid: UUID | None = None
    """What everything that belongs together shares; the first command's id."""
    actor: str
    """The principal on whose behalf."""
    generation: int | None = None
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Origin:
    """What a message inherits from what caused it."""

    source: str
    actor: str
    causation: UUID | None = None
    correlation: UUID | None = None


@dataclass(frozen=True, slots=True)
class Sealed:
    """A message with its identity, before encoding. The id is drawn once and kept through every retry."""

    id: EventId
    subject: str
    time: datetime
    origin: Origin
    message: Message
