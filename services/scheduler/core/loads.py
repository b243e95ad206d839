"""What hosts that fail would bring to others."""

from bisect import bisect_left, insort

Load = tuple[int, int]
"""vCPUs and MiB."""
Plan = dict[int, Load]
"""What the protected VMs of one host would bring to others: rows of the fleet."""


class Loads:
    """What each other host would bring to one, and the largest sums of it, in vCPUs and in MiB."""

    def __init__(self) -> None:
        self.of: dict[int, Load] = {}
        self._sorted: tuple[list[int], list[int]] = ([], [])

    def put(self, host: int, load: Load) -> None:
        self.of[host] = load
        for ordered, part in zip(self._sorted, load, strict=True):
            insort(ordered, part)

    def drop(self, host: int) -> None:
        for ordered, part in zip(self._sorted, self.of.pop(host), strict=True):
            del ordered[bisect_left(ordered, part)]

    def largest(self, most: int) -> Load:
        """Give the sum of the *most* largest loads, of each kind by itself."""
        vcpus, memory = (sum(ordered[-most:]) if most else 0 for ordered in self._sorted)
        return vcpus, memory
