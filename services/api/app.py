"""Put the application together from its parts."""

from collections.abc import Callable
from uuid import UUID

from fastapi import FastAPI
from starlette.middleware import Middleware

from infra.runtime.clock import Clock
from services.api import errors
from services.api.document import described
from services.api.edge import Edge
from services.api.routes import (
    actions,
    events,
    hosts,
    metrics,
    operations,
    published,
    statistics,
    system,
    vms,
)

API = "/api/v1"


def make_app(new_id: Callable[[], UUID], clock: Clock) -> FastAPI:
    """Make the application. It serves once `app.state.parts` holds its Parts."""
    app = FastAPI(
        title="roost",
        version="v1",
        summary="Virtual machines on a fleet of hosts; every command is an operation, every change an event.",
        openapi_url=f"{API}/openapi.json",
        docs_url=None,  # these pages load their scripts from a CDN
        redoc_url=None,
        redirect_slashes=False,
        separate_input_output_schemas=False,
        middleware=[Middleware(Edge, new_id=new_id, clock=clock)],
    )
    errors.install(app)
    for room in (vms, actions, hosts, operations, events, statistics):
        app.include_router(room.router, prefix=API)
    app.include_router(system.router)
    app.include_router(metrics.router)
    app.include_router(published.router)
    described(app)
    return app
