"""Build the values of the language with plain names and few words."""

from datetime import UTC, datetime
from uuid import UUID

from events.codec import encode
from events.desired import Action, ActionVerb, DesiredVm, Done
from events.effective import Effective, EffectiveDisk
from events.envelope import Message, Origin, Sealed
from events.facts import (
    HostReported,
    PauseCause,
    StopCause,
    VmBooting,
    VmFact,
    VmPaused,
    VmRunning,
    VmStartFailed,
    VmStopped,
)
from events.host import Host
from events.ids import CommandId, EventId, Generation, HostId, VmId, new_vm_id
from events.spec import VmSpec
from events.values import Desired, Placement, Resources, Versions
from events.vm import PendingCommand, Vm
from events.wishes import GroupWish, PlacementWishes, Rule
from infra.eventlog.port import Write
from infra.runtime.ids import random_id

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
VERSIONS = Versions(roost="0.1.0", hypervisor="qemu", libvirt="9.0.0", qemu="7.2.0", kernel="6.1.0")


def command_id(number: int) -> CommandId:
    return CommandId(UUID(int=0xC000 + number))


def vm_id(number: int) -> VmId:
    """The VM that the command of this number creates."""
    return new_vm_id(command_id(number))


def host_id(number: int) -> HostId:
    return HostId(UUID(int=0xA000 + number))


VM, HOST, OTHER_HOST = vm_id(0), host_id(1), host_id(2)


def spec(name: str = "web", vcpus: int = 2, memory_mib: int = 512) -> VmSpec:
    return VmSpec(name=name, vcpus=vcpus, memory_mib=memory_mib, image="tiny")


def wishing(wanted: VmSpec, *groups: GroupWish, **wishes: tuple[str, ...] | tuple[HostId, ...]) -> VmSpec:
    """*wanted*, with these groups and other wishes."""
    placed = PlacementWishes.model_validate({**wishes, "groups": groups})
    return wanted.model_copy(update={"placement": placed})


def apart(name: str = "db", *, hard: bool = True) -> GroupWish:
    return GroupWish(name=name, rule=Rule.APART, hard=hard)


def together(name: str = "db", *, hard: bool = True) -> GroupWish:
    return GroupWish(name=name, rule=Rule.TOGETHER, hard=hard)


def placement(host: HostId = HOST, generation: int = 1) -> Placement:
    return Placement(host_id=host, generation=Generation(generation))


def a_vm(
    *,
    desired: Desired = Desired.STOPPED,
    placed: Placement | None = None,
    pending: tuple[PendingCommand, ...] = (),
    grace_s: float = 0.0,
) -> Vm:
    """A VM of the id VM; its generation is its placement's."""
    generation = placed.generation if placed is not None else Generation(0)
    return Vm(
        vm_id=VM,
        spec=spec(),
        desired=desired,
        generation=generation,
        placement=placed,
        grace_s=grace_s,
        pending=pending,
    )


def starts(*numbers: int) -> tuple[PendingCommand, ...]:
    return tuple(PendingCommand(command_id=command_id(number), verb="start") for number in numbers)


def stops(*numbers: int) -> tuple[PendingCommand, ...]:
    return tuple(PendingCommand(command_id=command_id(number), verb="stop") for number in numbers)


def a_host(host: HostId = HOST, *, vcpus: int = 8, memory_mib: int = 4096, vms: int = 0) -> Host:
    """A host on which so many VMs of `spec()` are placed."""
    taken = Resources(vcpus=2 * vms, memory_mib=512 * vms)
    capacity = Resources(vcpus=vcpus, memory_mib=memory_mib)
    return Host(host_id=host, name=f"rack-{host.int - 0xA000}", capacity=capacity, allocated=taken, vms=vms)


def report(host: HostId = HOST, *, cores: int = 2, memory_mib: int = 4608) -> HostReported:
    return HostReported(
        host_id=host,
        name=f"rack-{host.int - 0xA000}",
        cores=cores,
        memory_mib=memory_mib,
        versions=VERSIONS,
        boot_id="boot-1",
    )


def booting(vm: VmId = VM, host: HostId = HOST, generation: int = 1) -> VmFact:
    return VmBooting(vm_id=vm, host_id=host, generation=Generation(generation))


def running(vm: VmId = VM, host: HostId = HOST, generation: int = 1) -> VmFact:
    return VmRunning(vm_id=vm, host_id=host, generation=Generation(generation))


def stopped(
    vm: VmId = VM, host: HostId = HOST, generation: int = 1, cause: StopCause = StopCause.COMMANDED
) -> VmFact:
    return VmStopped(vm_id=vm, host_id=host, generation=Generation(generation), cause=cause)


def start_failed(vm: VmId = VM, host: HostId = HOST, generation: int = 1, message: str = "no") -> VmFact:
    return VmStartFailed(vm_id=vm, host_id=host, generation=Generation(generation), message=message)


def an_effective() -> Effective:
    """What a hypervisor has made of `spec()`."""
    return Effective(
        machine="pc-q35-7.2",
        cpu="host",
        clock="utc",
        vcpus=2,
        vcpus_max=4,
        memory_mib=512,
        boot="hd",
        controllers=("usb", "virtio-scsi"),
        video="virtio",
        graphics="none",
        rng="virtio",
        balloon="virtio",
        agent_channel="org.qemu.guest_agent.0",
        serial_log="/serial.log",
        disks=(EffectiveDisk(name="data", target="vda", path="/d.qcow2", format="qcow2"),),
    )


def an_entry(
    desired: Desired = Desired.RUNNING, generation: int = 1, grace_s: float = 0.0, vm: VmId = VM
) -> DesiredVm:
    """What a host is told about a VM."""
    return DesiredVm(
        vm_id=vm, generation=Generation(generation), desired=desired, spec=spec(), grace_s=grace_s
    )


def a_write(
    subject: str, message: Message, *, event_id: UUID | None = None, operation: UUID | None = None
) -> Write:
    """*message* in its envelope, ready to be stored."""
    drawn = event_id or random_id()
    origin = Origin(source="test", actor="ann", causation=operation, correlation=operation)
    sealed = Sealed(id=EventId(drawn), subject=subject, time=NOON, origin=origin, message=message)
    return Write(subject, drawn, encode(sealed))


def paused(cause: PauseCause = PauseCause.USER, generation: int = 1) -> VmFact:
    return VmPaused(vm_id=VM, host_id=HOST, generation=Generation(generation), cause=cause)


def having_done(fact: VmFact, *numbers: int, refused: str | None = None) -> VmFact:
    """*fact*, with the commands of these numbers among what the host has done, or would not do."""
    done = tuple(Done(token=command_id(number), refused=refused) for number in numbers)
    return fact.model_copy(update={"done": (*fact.done, *done)})


def with_disks(fact: VmFact, *names: str) -> VmFact:
    return fact.model_copy(update={"disks": names})


def an_action(number: int, verb: ActionVerb, grace_s: float = 0.0) -> Action:
    fields = ("vcpus",) if verb is ActionVerb.UPDATE else ()
    return Action(token=command_id(number), verb=verb, grace_s=grace_s, fields=fields)
