"""/hosts: list and look."""

from events.codes import Code
from events.views import HostView
from services.api.access import guarded_router
from services.api.core import ids
from services.api.core.bodies import HostBody, HostPage
from services.api.core.faults import bad_cursor
from services.api.core.render import host_body
from services.api.lookup import host_named
from services.api.parts import Parts, PartsNeeded
from services.api.routes.asking import PAGE_DEFAULT, Cursor, Limit, reading

router = guarded_router("Hosts")


@router.get("/hosts", operation_id="list_hosts", responses=reading())
async def list_hosts(parts: PartsNeeded, limit: Limit = PAGE_DEFAULT, cursor: Cursor = None) -> HostPage:
    """List the hosts."""
    after = None if cursor is None else ids.read_host(cursor)
    if cursor is not None and after is None:
        raise bad_cursor()
    found = await parts.reads.hosts(after=after, limit=limit + 1)
    shown = found[:limit]
    return HostPage(
        items=[_shown(parts, host) for host in shown],
        next_cursor=ids.show_host(shown[-1].host_id) if len(found) > limit else None,
    )


@router.get("/hosts/{host}", operation_id="show_host", responses=reading(Code.NO_SUCH_HOST))
async def show_host(host: str, parts: PartsNeeded) -> HostBody:
    """Show one host."""
    found = await host_named(parts.reads, host)
    return _shown(parts, found)


def _shown(parts: Parts, host: HostView) -> HostBody:
    pulse = parts.pulse
    return host_body(host, heartbeat_age_s=pulse.age_s(host.host_id), listened_s=pulse.listened_s)
