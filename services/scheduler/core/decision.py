"""What a decision reads, and what it leaves."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from events.events import Event
from events.facts import VmFact
from events.ids import BEGINNING, CommandId, HostId, Seq, VmId
from events.vm import Vm
from services.scheduler.core.failover import Failover
from services.scheduler.core.fleet import Fleet, HostView, Mask
from services.scheduler.core.groups import Groups
from services.scheduler.core.weights import Policy

T = TypeVar("T")


@dataclass(frozen=True)
class Known(Generic[T]):
    """The last word on one subject, and its sequence: what a guard will name. 0 and None: nothing yet."""

    value: T | None = None
    seq: Seq = BEGINNING


@dataclass(frozen=True)
class Scene:
    """Everything that one decision about one VM reads."""

    vm_id: VmId
    vm: Known[Vm]
    fact: VmFact | None
    """The last that the placed host reported about the VM."""
    fleet: Fleet
    alive: Mask
    """Whose heartbeat was heard lately. Ranks only: it is no guard and no proof of anything."""
    readable: Mask | None
    """Whose last word can be read; None: everybody's."""
    name_owner: Known[VmId]
    """Who holds the claim on the VM's name."""
    groups: Groups
    joined: Mapping[str, Known[VmId]] = field(default_factory=dict)
    """Of each group, who was placed last: what a placement of another member is guarded by."""
    policy: Policy = Policy.BALANCED
    failover: Failover | None = None
    """What is kept free for the highly available VMs of hosts that fail; None: nothing is."""
    avoided: Mask | None = None
    """Hosts that are taken only where no other will do; None: none is."""

    def host(self, host_id: HostId) -> HostView | None:
        """Give a host whose last word can be read."""
        row = self.fleet.row(host_id)
        if row is None or (self.readable is not None and not self.readable[row]):
            return None
        return self.fleet[row]


@dataclass(frozen=True)
class Change:
    """One event to be stored, and the operation on whose behalf."""

    subject: str
    event: Event
    operation: CommandId | None


@dataclass(frozen=True)
class Decision:
    """Events that are stored all or none, under guards on every subject that makes them right."""

    changes: tuple[Change, ...] = ()
    guards: Mapping[str, Seq] | None = None
    no_host: bool = False
    """A start is given up because no other host can take the VM."""


NOTHING = Decision()
"""It is so already, and whoever asked was told."""
