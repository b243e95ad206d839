"""/events: the log, page by page."""

from typing import Annotated

from fastapi import Query

from events.ids import Seq
from services.api.access import guarded_router
from services.api.core.bodies import EventPage
from services.api.core.render import event_page
from services.api.parts import PartsNeeded
from services.api.routes.asking import PAGE_DEFAULT, Limit, reading

router = guarded_router("Events")


@router.get("/events", operation_id="list_events", responses=reading())
async def list_events(
    parts: PartsNeeded,
    after: Annotated[int, Query(ge=0, description="The sequence to go on from; 0: the beginning.")] = 0,
    limit: Limit = PAGE_DEFAULT,
) -> EventPage:
    """List the events of the log, in order from `after` on."""
    return event_page(await parts.reads.history(after=Seq(after), limit=limit), after)
