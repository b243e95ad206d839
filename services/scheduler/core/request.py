"""What is to be placed."""

from collections.abc import Sequence
from dataclasses import dataclass

from events.ids import HostId
from events.spec import VmSpec
from events.values import Resources
from services.scheduler.core.groups import Others


@dataclass(frozen=True)
class Request:
    """One VM, and what its hosts are asked for."""

    spec: VmSpec
    needs: Resources
    only: HostId | None = None
    """The one host that may be chosen."""
    made_disks: frozenset[str] = frozenset()
    """Disks that are there already: their storage is not asked for room."""
    tried: frozenset[HostId] = frozenset()
    """Hosts that have failed to start it in this operation."""
    others: Sequence[Others] = ()
    """Who else of its groups is placed now; a group of which nobody is, is left out."""

    @property
    def networks(self) -> Sequence[str]:
        """The bridges that it needs."""
        return sorted({nic.network for nic in self.spec.nics})

    @property
    def storages(self) -> Sequence[str]:
        """The storages in which disks of it are to be made."""
        return sorted({disk.storage for disk in self.spec.disks if disk.name not in self.made_disks})
