"""/vms/{vm}/statistics and /hosts/{host}/statistics: what was told last, for as long as it is fresh."""

from events.codes import Code
from services.api.access import guarded_router
from services.api.core import ids
from services.api.core.problems import Problem
from services.api.core.statistics import (
    HostStatisticsBody,
    VmStatisticsBody,
    host_statistics_body,
    vm_statistics_body,
)
from services.api.lookup import host_named, vm_named
from services.api.parts import PartsNeeded
from services.api.routes.asking import reading
from services.api.statistics import STALE_AFTER_S

router = guarded_router("Statistics")


@router.get(
    "/vms/{vm}/statistics",
    operation_id="show_vm_statistics",
    responses=reading(Code.NO_SUCH_VM, Code.NO_STATISTICS),
)
async def show_vm_statistics(vm: str, parts: PartsNeeded) -> VmStatisticsBody:
    """Show the figures of a VM that runs, as the host where it is placed told them last."""
    found = await vm_named(parts.reads, vm)
    told = None if found.host_id is None else parts.statistics.of_host(found.host_id)
    figures = None if told is None else told.vms.get(found.vm_id)
    # Of another generation: the host has not yet told of this run, or tells of one that is over.
    if told is None or figures is None or figures.generation != found.generation:
        raise _nothing_heard(ids.show_vm(found.vm_id))
    before = None if told.before is None else told.before.vms.get(found.vm_id)
    return vm_statistics_body(
        figures,
        told.host,
        age_s=parts.statistics.age_s(told),
        before=None if told.before is None or before is None else (told.before.host.at, before),
    )


@router.get(
    "/hosts/{host}/statistics",
    operation_id="show_host_statistics",
    responses=reading(Code.NO_SUCH_HOST, Code.NO_STATISTICS),
)
async def show_host_statistics(host: str, parts: PartsNeeded) -> HostStatisticsBody:
    """Show the figures of a host, as it told them last."""
    found = await host_named(parts.reads, host)
    told = parts.statistics.of_host(found.host_id)
    if told is None:
        raise _nothing_heard(ids.show_host(found.host_id))
    return host_statistics_body(found.host_id, told.host, list(told.vms), age_s=parts.statistics.age_s(told))


def _nothing_heard(what: str) -> Problem:
    return Problem(Code.NO_STATISTICS, {"what": what, "seconds": f"{STALE_AFTER_S:g}"})
