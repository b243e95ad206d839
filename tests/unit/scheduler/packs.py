"""Whether VMs pack onto hosts, by trying every way: what cleverer answers are held against."""

from collections.abc import Sequence

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
