"""What the scheduler knows: the last word on each subject, folded from the log.

It may lag behind the log. That is safe: every decision is guarded on the sequences that it was made from,
so what lags is refused by the log and decided again.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar, assert_never

from events.commands import Command
from events.envelope import Message
from events.events import (
    ClaimReleased,
    ClaimTaken,
    CommandEnded,
    CommandJoined,
    Event,
    GroupJoined,
    HostCapacityChanged,
    HostRegistered,
    HostReleased,
    HostReserved,
    VmActionRequested,
    VmCreated,
    VmDeleted,
    VmDesired,
    VmLiveUpdated,
    VmPlaced,
    VmReleased,
    VmStopRequested,
    VmUpdated,
)
from events.facts import (
    HostReported,
    RunFact,
    VmFact,
)
from events.host import Host
from events.ids import BEGINNING, HostId, Seq, VmId
from events.subjects import EventSubject
from events.vm import Vm
from services.scheduler.core.decision import Known, Scene
from services.scheduler.core.failover import Admission, Failover
from services.scheduler.core.failures import Failures
from services.scheduler.core.filters import lasting_facts
from services.scheduler.core.fleet import Fleet, Mask
from services.scheduler.core.groups import Groups
from services.scheduler.core.packing import Shape
from services.scheduler.core.weights import Policy

K = TypeVar("K")
T = TypeVar("T")

_NO_VM = Known[Vm]()


@dataclass
class World:
    """Mutable, owned by one handler; `fold` ignores what is older than what it has."""

    vms: dict[VmId, Known[Vm]] = field(default_factory=dict)
    fleet: Fleet = field(default_factory=Fleet)
    claims: dict[str, Known[VmId]] = field(default_factory=dict)
    facts: dict[tuple[VmId, HostId], Known[VmFact]] = field(default_factory=dict)
    reports: dict[HostId, Known[HostReported]] = field(default_factory=dict)
    joined: dict[str, Known[VmId]] = field(default_factory=dict)
    """Of each group, who was placed last. It is never newer than what is known of the group's VMs."""
    failures_tolerated: int = 0
    admission: Admission = Admission.REFUSE

    def __post_init__(self) -> None:
        self.groups = Groups(self.fleet)
        self.failures = Failures()
        self.failover = (
            Failover(self.fleet, self.groups, self.failures_tolerated, self.admission)
            if self.failures_tolerated
            else None
        )

    def fold(self, subject: EventSubject, seq: Seq, message: Message) -> None:
        """Take in one event."""
        if isinstance(message, Command):
            return  # Commands live on another stream; one here is someone's mistake and says nothing.
        match message:
            case (
                VmCreated()
                | VmPlaced()
                | VmStopRequested()
                | VmActionRequested()
                | VmUpdated()
                | VmLiveUpdated()
                | VmReleased()
                | VmDeleted()
                | CommandJoined()
                | CommandEnded()
            ):
                self._take_vm(VmId(subject.uuid), Known(message.vm, seq))
            case HostRegistered() | HostCapacityChanged() | HostReserved() | HostReleased():
                self._take_host(message.host, seq)
            case ClaimTaken():
                _keep(self.claims, subject.id, Known(message.owner, seq))
            case ClaimReleased():
                _keep(self.claims, subject.id, Known[VmId](None, seq))
            case GroupJoined():
                _keep(self.joined, message.group, Known(message.vm_id, seq))
            case HostReported():
                if _keep(self.reports, message.host_id, Known(message, seq)):
                    before = self.fleet.get(message.host_id)
                    self.fleet.report(message)
                    if self.failover is not None and lasting_facts(before) != lasting_facts(
                        self.fleet.get(message.host_id)
                    ):
                        self.failover.forget()
            case VmDesired():
                pass  # Our own word to a host; its VM's ctl event says the same to us.
            case RunFact():
                if _keep(self.facts, (message.vm_id, message.host_id), Known[VmFact](message, seq)):
                    self.failures.take(seq, message)
            case _:
                assert_never(message)

    def suppose(self, subject: EventSubject, event: Event) -> Callable[[], None]:
        """Take in what is decided and not stored yet, under the sequence of what is; give what takes it back.

        What others have stored meanwhile is not taken back.
        """
        match event:
            case HostRegistered() | HostCapacityChanged() | HostReserved() | HostReleased():
                return self._suppose_host(event.host)
            case ClaimTaken():
                return _suppose(self.claims, subject.id, event.owner)
            case ClaimReleased():
                return _suppose(self.claims, subject.id, None)
            case GroupJoined():
                return _suppose(self.joined, event.group, event.vm_id)
            case VmDesired() | HostReported() | RunFact():
                return _nothing
            case _:
                return self._suppose_vm(VmId(subject.uuid), event.vm)

    def _suppose_host(self, host: Host) -> Callable[[], None]:
        before = self.fleet.get(host.host_id)
        if before is None:
            return _nothing  # One that joins gets nothing in the batch that lets it.
        self.fleet.put(host, before.seq)

        def undo() -> None:
            now = self.fleet.get(host.host_id)
            if now is not None and now.host is host:
                self.fleet.put(before.host, before.seq)

        return undo

    def scene(
        self,
        vm_id: VmId,
        name_claim: str | None,
        alive: Mask,
        readable: Mask | None = None,
        policy: Policy = Policy.BALANCED,
    ) -> Scene:
        """Show what a decision about one VM reads."""
        vm = self.vms.get(vm_id, Known())
        placement = vm.value.placement if vm.value is not None else None
        fact = self.facts.get((vm_id, placement.host_id)) if placement is not None else None
        return Scene(
            vm_id=vm_id,
            vm=vm,
            fact=fact.value if fact is not None else None,
            fleet=self.fleet,
            groups=self.groups,
            joined=self.joined,
            alive=alive,
            readable=readable,
            name_owner=self.claims.get(name_claim, Known()) if name_claim is not None else Known(),
            policy=policy,
            failover=self.failover,
            avoided=self.failures.avoided(self.fleet),
        )

    def host(self, host_id: HostId) -> Known[Host]:
        """Give the control plane's last word on a host."""
        view = self.fleet.get(host_id)
        return Known(view.host, view.seq) if view is not None else Known()

    def _suppose_vm(self, vm_id: VmId, vm: Vm | None) -> Callable[[], None]:
        before = self._vm(vm_id)
        take_back = _suppose(self.vms, vm_id, vm)
        self._moved(before, vm)

        def undo() -> None:
            now = self._vm(vm_id)
            take_back()
            self._moved(now, self._vm(vm_id))

        return undo

    def _take_vm(self, vm_id: VmId, word: Known[Vm]) -> None:
        before = self._vm(vm_id)
        if _keep(self.vms, vm_id, word):
            self._moved(before, word.value)

    def _vm(self, vm_id: VmId) -> Vm | None:
        return self.vms.get(vm_id, _NO_VM).value

    def _moved(self, before: Vm | None, after: Vm | None) -> None:
        """Count anew what the placed VMs say of the hosts."""
        self.groups.follow(before, after)
        if self.failover is not None:
            self.failover.follow(before, after)
        gone, come = _shape(before), _shape(after)
        if gone == come:
            return
        if gone is not None:
            self.fleet.ranks.count(gone, -1)
        if come is not None:
            self.fleet.ranks.count(come, 1)

    def _take_host(self, host: Host, seq: Seq) -> None:
        known = self.fleet.get(host.host_id)
        if known is not None and known.seq >= seq:
            return
        self.fleet.put(host, seq)
        report = self.reports.get(host.host_id)
        if known is None and report is not None and report.value is not None:
            self.fleet.report(report.value)


def _shape(vm: Vm | None) -> Shape | None:
    """Give what a VM takes where it is placed; None: it is placed nowhere."""
    if vm is None or vm.placement is None:
        return None
    takes = vm.reserved if vm.reserved is not None else vm.spec.needs
    return Shape(takes.vcpus, takes.memory_mib)


def _nothing() -> None:
    pass


def _suppose(known: dict[K, Known[T]], key: K, value: T | None) -> Callable[[], None]:
    before = known.get(key)
    supposed = known[key] = Known(value, before.seq if before is not None else BEGINNING)

    def undo() -> None:
        if known.get(key) is not supposed:
            return
        if before is None:
            del known[key]
        else:
            known[key] = before

    return undo


def _keep(known: dict[K, Known[T]], key: K, word: Known[T]) -> bool:
    """Take in *word*, and say so, unless what is known is as young."""
    if key in known and known[key].seq >= word.seq:
        return False
    known[key] = word
    return True
