"""Which hosts fail at what they are told to start: they stay empty, and would draw one VM after the other."""

from dataclasses import dataclass

from events.facts import RunFact, VmStartFailed
from events.ids import BEGINNING, HostId, Seq, VmId
from services.scheduler.core.fleet import Fleet, Mask

VMS = 2
"""VMs in a row that a host has failed to start: of one alone the fault may be its own."""
AVOIDED_FOR = 1_000
"""Words of hosts about VMs after which such a host is tried again, though others could take the VM."""


@dataclass(frozen=True)
class _Word:
    """The last that a host has said of one VM."""

    vm_id: VmId
    seq: Seq
    failed: bool


class Failures:
    """Mutable, owned by one world: of each host what it has said last of the VMs that it spoke of last."""

    def __init__(self) -> None:
        self._words: dict[HostId, tuple[_Word, ...]] = {}
        self._failing: dict[HostId, Seq] = {}
        """Since when; few are."""
        self._newest = BEGINNING

    def take(self, seq: Seq, fact: RunFact) -> None:
        """Take in what is the last word of a host on a VM, as far as we know."""
        self._newest = max(self._newest, seq)
        word = _Word(fact.vm_id, seq, isinstance(fact, VmStartFailed))
        others = (one for one in self._words.get(fact.host_id, ()) if one.vm_id != fact.vm_id)
        words = sorted((word, *others), key=lambda one: one.seq)[-VMS:]
        self._words[fact.host_id] = tuple(words)
        if len(words) == VMS and all(one.failed for one in words):
            self._failing[fact.host_id] = words[-1].seq
        else:
            self._failing.pop(fact.host_id, None)

    def avoided(self, fleet: Fleet) -> Mask | None:
        """Say which hosts of *fleet* are taken only where no other will do; None: none is."""
        failing = [host for host, seq in self._failing.items() if self._newest - seq < AVOIDED_FOR]
        return fleet.mask(failing) if failing else None
