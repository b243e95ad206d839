"""Whether VMs pack onto hosts, by trying every way: what cleverer answers are held against."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import combinations

from events.ids import HostId
from events.vm import reserved_by
from tests.unit.scheduler.story import Story

Size = tuple[int, int]
"""vCPUs and MiB."""


def packs(sizes: Sequence[Size], rooms: Sequence[Size]) -> bool:
    """Say whether all of *sizes* go into *rooms*."""
    if not sizes:
        return True
    (vcpus, memory), *rest = sizes
    return any(
        packs(rest, [*rooms[:index], (has_vcpus - vcpus, has_memory - memory), *rooms[index + 1 :]])
        for index, (has_vcpus, has_memory) in enumerate(rooms)
        if has_vcpus >= vcpus and has_memory >= memory
    )


def bearable(story: Story, tolerates: int) -> set[frozenset[HostId]]:
    """Give the sets of so many hosts that may fail at once: their protected VMs pack onto the others."""
    ids = [view.host.host_id for view in story.world.fleet]
    return {frozenset(failed) for failed in combinations(ids, tolerates) if is_borne(story, set(failed), {})}


def is_borne(
    story: Story, failed: AbstractSet[HostId], taken: Mapping[HostId, Size], more: Sequence[Size] = ()
) -> bool:
    """Say whether these hosts may fail at once; something has *taken* room, and *more* has to go as well."""
    homeless = list(more)
    for known in story.world.vms.values():
        vm = known.value
        if vm is None or vm.placement is None or vm.placement.host_id not in failed:
            continue
        if (vm.running or vm.spec).highly_available:
            takes = reserved_by(vm)
            homeless.append((takes.vcpus, takes.memory_mib))
    rooms = []
    for view in story.world.fleet:
        if view.host.host_id not in failed:
            vcpus, memory = taken.get(view.host.host_id, (0, 0))
            rooms.append((view.host.free.vcpus - vcpus, view.host.free.memory_mib - memory))
    return packs(sorted(homeless, reverse=True), rooms)
