"""Let so many guests start at once, and among those that wait the one of the highest priority first."""

from events.ids import VmId


class Turns:
    """Who asks and gets no turn waits, and is named when one is free: it then asks again."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._has: set[VmId] = set()
        self._waiting: dict[VmId, int] = {}

    def take(self, vm_id: VmId, priority: int) -> bool:
        """Take a turn; False: wait to be named."""
        # As it was when it began to wait: one that is named and asks for less would leave a turn to nobody.
        self._waiting.setdefault(vm_id, priority)
        if vm_id not in self._has and vm_id not in self._next():
            return False
        del self._waiting[vm_id]
        self._has.add(vm_id)
        return True

    def leave(self, vm_id: VmId) -> tuple[VmId, ...]:
        """Give the turn back, or wait no longer; name those whose turn it is."""
        had = vm_id in self._has or vm_id in self._waiting
        self._has.discard(vm_id)
        self._waiting.pop(vm_id, None)
        return self._next() if had else ()

    def _next(self) -> tuple[VmId, ...]:
        free = max(0, self._most - len(self._has))
        # Those of one priority in the order in which they came: that is a dict's own.
        return tuple(sorted(self._waiting, key=lambda vm_id: -self._waiting[vm_id])[:free])
