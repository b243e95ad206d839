"""What the control plane has decided, and whether it may be: capacity, reservations, generations, ends."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from events.envelope import Message
from events.events import (
    CommandEnded,
    HostCapacityChanged,
    HostRegistered,
    HostReleased,
    HostReserved,
    VmCtl,
    VmPlaced,
)
from events.host import Host
from events.ids import CommandId, Generation, HostId, VmId
from events.values import Resources
from events.vm import Vm, reserved_by
from events.wishes import Rule


@dataclass
class Ledger:
    """The state that a log tells, and a complaint for everything that must not be."""

    vms: dict[VmId, Vm] = field(default_factory=dict)
    hosts: dict[HostId, Host] = field(default_factory=dict)
    ends: Counter[CommandId] = field(default_factory=Counter)
    generations: dict[VmId, Generation] = field(default_factory=dict)
    placed: dict[VmId, list[Generation]] = field(default_factory=lambda: defaultdict(list))
    complaints: list[str] = field(default_factory=list)

    def take(self, event: Message) -> None:
        """Take in the next event."""
        match event:
            case HostReserved(host=host):
                capacity = host.capacity
                if host.allocated.vcpus > capacity.vcpus or host.allocated.memory_mib > capacity.memory_mib:
                    self.complaints.append(f"{host.name} was promised beyond its capacity: {host}")
                self.hosts[host.host_id] = host
            case HostRegistered(host=host) | HostReleased(host=host) | HostCapacityChanged(host=host):
                self.hosts[host.host_id] = host
            case _ if isinstance(event, VmCtl):
                self._take_vm(event)
            case _:
                pass  # Facts and words to hosts leave no reservation.

    def _take_vm(self, event: VmCtl) -> None:
        vm = event.vm
        if isinstance(event, CommandEnded):
            self.ends[event.command_id] += 1
            if self.ends[event.command_id] > 1:
                self.complaints.append(
                    f"command {event.command_id} ended {self.ends[event.command_id]} times"
                )
        if vm is None:
            return
        if vm.generation < self.generations.get(vm.vm_id, 0):
            self.complaints.append(f"the generation of {vm.vm_id} went back to {vm.generation}")
        if isinstance(event, VmPlaced):
            if vm.generation in self.placed[vm.vm_id]:
                self.complaints.append(f"{vm.vm_id} was placed twice in generation {vm.generation}")
            self.placed[vm.vm_id].append(vm.generation)
        self.generations[vm.vm_id] = vm.generation
        self.vms[vm.vm_id] = vm

    @property
    def pending(self) -> frozenset[CommandId]:
        """The commands that wait for a host's report."""
        return frozenset(one.command_id for vm in self.vms.values() for one in vm.pending)

    def faults(self) -> Sequence[str]:
        """Name what must not be between two batches."""
        return [*self.complaints, *self._both(), *self._reservations(), *self._wishes()]

    def check(self) -> None:
        """Assert that there is no fault."""
        assert not self.faults(), self.faults()

    def check_ended(self, commands: Iterable[CommandId]) -> None:
        """Assert that each of *commands* ended exactly once."""
        wrong = {one: self.ends[one] for one in commands if self.ends[one] != 1}
        assert not wrong, f"ends of each command: {wrong}"

    def _both(self) -> Iterator[str]:
        for one in sorted(self.pending & self.ends.keys()):
            yield f"command {one} has ended and is pending all the same"

    def _reservations(self) -> Iterator[str]:
        taken: dict[HostId, list[Resources]] = defaultdict(list)
        for vm in self.vms.values():
            if vm.placement is not None:
                taken[vm.placement.host_id].append(reserved_by(vm))
        for host in self.hosts.values():
            promised = taken.pop(host.host_id, [])
            found = (host.vms, host.allocated)
            if found != (len(promised), total(promised)):
                yield (
                    f"{host.name} has {host.vms} VMs reserved ({host.allocated}), "
                    f"{len(promised)} are placed there ({total(promised)})"
                )
        for host_id, promised in taken.items():
            yield f"{len(promised)} VMs are placed on {host_id}, which nobody registered"

    def _wishes(self) -> Iterator[str]:
        """Look at what each placed VM was promised: a host that it may be on, and its groups' hard rules."""
        placed = [(vm, vm.placement.host_id) for vm in self.vms.values() if vm.placement is not None]
        members: dict[str, Counter[HostId]] = defaultdict(Counter)
        for vm, host_id in placed:
            promised = (vm.running or vm.spec).placement
            for wish in promised.groups:
                members[wish.name][host_id] += 1
            if promised.hosts and host_id not in promised.hosts:
                yield f"{vm.spec.name} is placed on {host_id}, and pinned to others"
        for vm, host_id in placed:
            for wish in (vm.running or vm.spec).placement.groups:
                group = members[wish.name]
                wrong = group[host_id] - 1 if wish.rule is Rule.APART else group.total() - group[host_id]
                if wish.hard and wrong:
                    yield f"{vm.spec.name} on {host_id} is not {wish.rule} in {wish.name}: {wrong} VMs"


def total(resources: Sequence[Resources]) -> Resources:
    """Add up."""
    return Resources(
        vcpus=sum(one.vcpus for one in resources), memory_mib=sum(one.memory_mib for one in resources)
    )
