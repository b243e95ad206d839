"""What must hold in any log of events, read from its beginning; used by pure, twin and real logs alike."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from events import subjects
from events.codec import Undecodable, decode
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
from events.ids import CommandId, Generation, HostId, Seq, VmId
from events.places import in_place
from events.values import Resources
from events.vm import Vm
from infra.eventlog.port import EventLog, Recorded

READ_MAX, WAIT_S = 1000, 5.0
NOTHING = Resources(vcpus=0, memory_mib=0)


@dataclass
class Ledger:
    """The state that a log tells, and a complaint for everything that must not be."""

    vms: dict[VmId, Vm] = field(default_factory=dict)
    hosts: dict[HostId, Host] = field(default_factory=dict)
    ends: Counter[CommandId] = field(default_factory=Counter)
    generations: dict[VmId, Generation] = field(default_factory=dict)
    placed: dict[VmId, list[Generation]] = field(default_factory=lambda: defaultdict(list))
    complaints: list[str] = field(default_factory=list)

    def take(self, event: object) -> None:
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
                self.complaints.append(f"command {event.command_id} ended twice")
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

    def check(self) -> None:
        """Assert what must hold between two batches."""
        assert not self.complaints, self.complaints
        taken: dict[HostId, list[Resources]] = defaultdict(list)
        for vm in self.vms.values():
            if vm.placement is not None:
                taken[vm.placement.host_id].append(vm.spec.resources)
            both = [one.command_id for one in vm.pending if self.ends[one.command_id]]
            assert not both, f"pending and ended: {both}"
        for host in self.hosts.values():
            promised = taken.pop(host.host_id, [])
            assert (host.vms, host.allocated) == (len(promised), total(promised)), f"reservations of {host}"
        assert not taken, f"placed on hosts that nobody knows: {taken}"

    def check_ended(self, commands: Iterable[CommandId]) -> None:
        """Assert that each of *commands* ended exactly once."""
        wrong = {one: self.ends[one] for one in commands if self.ends[one] != 1}
        assert not wrong, f"ends of each command: {wrong}"


def total(resources: Sequence[Resources]) -> Resources:
    """Add up."""
    return Resources(
        vcpus=sum(one.vcpus for one in resources), memory_mib=sum(one.memory_mib for one in resources)
    )


async def read_ledger(log: EventLog) -> Ledger:
    """Read a whole stream of events from its beginning."""
    ledger, last = Ledger(), await log.last_seq()
    follower = log.follow(Seq(0), [subjects.EVT_ALL])
    while follower.position < last:
        for recorded in await follower.next(READ_MAX, WAIT_S):
            if (event := readable(recorded)) is not None:
                ledger.take(event)
    await follower.close()
    return ledger


def readable(recorded: Recorded) -> Message | None:
    """Read one event; None where nobody takes it for one: unreadable, or not in its writer's place."""
    try:
        _, message = decode(recorded.body)
        return message if in_place(subjects.parse_event(recorded.subject), message) else None
    except (Undecodable, ValueError):
        return None
