"""/metrics: everything that can be drawn and alerted on, as Prometheus reads it."""

import asyncio
from collections.abc import Sequence

from fastapi import Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from events.views import HostView, VmView
from infra.readmodel.port import PAGE_MAX, ReadModel
from infra.runtime.errors import Unavailable
from infra.runtime.workers import Workers
from services.api.access import guarded_router
from services.api.core.metrics import HostKnown, HostTold, Scrape
from services.api.core.render import SILENT_AFTER_S
from services.api.metrics import exposition
from services.api.parts import Parts, PartsNeeded
from services.api.routes.asking import reading

ROWS_WITHIN_S = 5.0
PAGES_MAX = 50
"""Of VMs and of hosts: enough for 50,000 of each; those beyond have no name and are in no count."""
WRITTEN_WITHIN_S = 30.0

router = guarded_router("System")
_writer = Workers("metrics", 1)


@router.get(
    "/metrics",
    operation_id="metrics",
    response_class=Response,
    responses=reading() | {200: {"content": {"text/plain": {}}, "description": "Prometheus's text format."}},
)
async def metrics(parts: PartsNeeded) -> Response:
    """Give all metrics. While the read models are away, those that are made from them are left out."""
    told = [
        HostTold(one.host, tuple(one.vms.values()), parts.statistics.age_s(one))
        for one in parts.statistics.hosts()
    ]
    try:
        async with asyncio.timeout(ROWS_WITHIN_S):
            hosts, vms = await _all_hosts(parts.reads), await _all_vms(parts.reads)
        scrape = Scrape(told, [_known(parts, host) for host in hosts], vms)
    except (Unavailable, TimeoutError):
        scrape = Scrape(told)
    body = await _writer.run(WRITTEN_WITHIN_S, exposition, scrape)
    return Response(body, media_type=CONTENT_TYPE_PLAIN_0_0_4)


async def _all_hosts(reads: ReadModel) -> Sequence[HostView]:
    found: list[HostView] = []
    for _ in range(PAGES_MAX):
        page = await reads.hosts(after=found[-1].host_id if found else None, limit=PAGE_MAX)
        found += page
        if len(page) < PAGE_MAX:
            break
    return found


async def _all_vms(reads: ReadModel) -> Sequence[VmView]:
    found: list[VmView] = []
    for _ in range(PAGES_MAX):
        page = await reads.vms(after=found[-1].vm_id if found else None, limit=PAGE_MAX)
        found += page
        if len(page) < PAGE_MAX:
            break
    return found


def _known(parts: Parts, host: HostView) -> HostKnown:
    age_s = parts.pulse.age_s(host.host_id)
    return HostKnown(host, age_s is not None and age_s <= SILENT_AFTER_S)
