"""Choose a host: filters say who can, with the numbers; the rank says who is best."""

from collections.abc import Iterable

from events.events import Refusal
from events.values import Resources
from services.scheduler.core.decision import HostView


def feasible(hosts: Iterable[HostView], needs: Resources) -> tuple[tuple[HostView, ...], tuple[Refusal, ...]]:
    """Part *hosts* into those that can take *needs*, and the reasons of the others, by name."""
    ordered = sorted(hosts, key=lambda view: (view.host.name, view.host.host_id))
    refusals = {view.host.host_id: _refusal(view, needs) for view in ordered}
    fits = tuple(view for view in ordered if refusals[view.host.host_id] is None)
    return fits, tuple(refusal for refusal in refusals.values() if refusal is not None)


def best(fits: Iterable[HostView], needs: Resources) -> HostView:
    """Give the host that is left the freest in its scarcer dimension; ties go to the lower id."""
    return min(fits, key=lambda view: (-_left(view, needs), view.host.host_id))


def _left(view: HostView, needs: Resources) -> float:
    host = view.host
    return min(
        (host.free.memory_mib - needs.memory_mib) / max(1, host.capacity.memory_mib),
        (host.free.vcpus - needs.vcpus) / max(1, host.capacity.vcpus),
    )


def _refusal(view: HostView, needs: Resources) -> Refusal | None:
    host, free = view.host, view.host.free
    if not view.alive:
        return Refusal(host=host.name, filter="liveness", needs="a heartbeat", has="none heard lately")
    if free.memory_mib < needs.memory_mib:
        has = f"{free.memory_mib} MiB free of {host.capacity.memory_mib}"
        return Refusal(host=host.name, filter="memory", needs=f"{needs.memory_mib} MiB", has=has)
    if free.vcpus < needs.vcpus:
        has = f"{free.vcpus} vCPUs free of {host.capacity.vcpus}"
        return Refusal(host=host.name, filter="vcpus", needs=f"{needs.vcpus} vCPUs", has=has)
    return None
