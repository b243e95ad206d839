"""What the routes work with; main.py builds it from real adapters, tests from twins."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request

from infra.eventlog.port import Signals
from infra.readmodel.port import ReadModel
from services.api.core.rights import Credentials
from services.api.desk import Desk
from services.api.pulse import Pulse
from services.api.statistics import Statistics

Probe = Callable[[], Awaitable[object]]
"""Ask one thing that this process needs; raises Unavailable when it does not answer."""


@dataclass(frozen=True)
class Parts:
    """Everything a route may touch."""

    desk: Desk
    reads: ReadModel
    signals: Signals
    pulse: Pulse
    statistics: Statistics
    credentials: Credentials
    probes: Mapping[str, Probe]
    new_id: Callable[[], UUID]
    version: str


def parts_of(request: Request) -> Parts:
    """Find the parts that the application was made with."""
    found: Parts = request.app.state.parts
    return found


async def _parts_of(request: Request) -> Parts:
    # Not on a thread, where the framework takes what is no coroutine: two hops to read an attribute.
    return parts_of(request)


PartsNeeded = Annotated[Parts, Depends(_parts_of)]
