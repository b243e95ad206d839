"""Write a sample of each (type, version) that has none: `python -m tests.compat.make_samples`.

A sample that is there is never written again: it shows what a release wrote into logs that we must read.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from events import codec, subjects
from events.codes import Code
from events.commands import (
    Command,
    CreateVm,
    DeleteVm,
    PauseVm,
    PowerOffVm,
    RebootVm,
    ResetVm,
    ResumeVm,
    StartVm,
    StopVm,
    UpdateVm,
)
from events.desired import ActionVerb, DesiredVm, Done
from events.envelope import Message, Origin, Sealed
from events.events import (
    ClaimReleased,
    ClaimTaken,
    CommandEnded,
    CommandJoined,
    GroupJoined,
    HostCapacityChanged,
    HostRegistered,
    HostReleased,
    HostReserved,
    Outcome,
    Refusal,
    ReleaseCause,
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
    PauseCause,
    StopCause,
    VmActionDone,
    VmAgentConnected,
    VmAgentGone,
    VmBalloonChanged,
    VmBooting,
    VmDeviceChanged,
    VmDisksRemoved,
    VmIoErrorSeen,
    VmNotResponding,
    VmPanicked,
    VmPaused,
    VmRebooted,
    VmResponding,
    VmResumed,
    VmRunning,
    VmStartFailed,
    VmStarting,
    VmStopped,
    VmStopping,
    VmWatchdogFired,
)
from events.host import Host
from events.ids import CommandId, EventId, Generation, HostId, VmId
from events.spec import Disk, DiskFormat, ErrorPolicy, Graphics, Nic, RunOnce, VmSpec
from events.upcasters import LATEST
from events.values import Desired, Placement, Resources, Versions, VmPhase
from events.vm import PendingCommand, Vm

SAMPLES = Path(__file__).with_name("samples")
NOON = datetime(2026, 1, 2, 12, 0, 0, 123456, tzinfo=UTC)
VM = VmId(UUID("11111111-1111-5111-8111-111111111111"))
HOST = HostId(UUID("22222222-2222-7222-8222-222222222222"))
COMMAND = CommandId(UUID("33333333-3333-5333-8333-333333333333"))
EVENT = EventId(UUID("44444444-4444-4444-8444-444444444444"))
GENERATION = Generation(2)

SPEC = VmSpec(name="demo", vcpus=2, memory_mib=512, image="tiny")
FULL_SPEC = VmSpec(
    name="demo",
    vcpus=2,
    memory_mib=512,
    image="tiny",
    vcpus_max=4,
    machine="q35",
    cpu_model="host-model",
    disks=(
        Disk(name="data", size_mib=1024, format=DiskFormat.RAW, storage="fast"),
        Disk(name="os", base="d"),
    ),
    nics=(Nic(network="br0", mac="52:54:00:12:34:56"), Nic(network="br1")),
    graphics=Graphics.VNC,
    persistent=False,
    on_io_error=ErrorPolicy.LEAVE_PAUSED,
    agent_wait_s=30.0,
    priority=70,
)
PLACEMENT = Placement(host_id=HOST, generation=GENERATION)
NEEDS = Resources(vcpus=2, memory_mib=512)
KNOWN_VM = Vm(vm_id=VM, spec=SPEC, desired=Desired.STOPPED)
PLACED_VM = Vm(
    vm_id=VM,
    spec=SPEC,
    desired=Desired.RUNNING,
    generation=GENERATION,
    placement=PLACEMENT,
    grace_s=30.0,
    pending=(PendingCommand(command_id=COMMAND, verb="start"),),
)
RUNNING_VM = PLACED_VM.model_copy(
    update={
        "spec": FULL_SPEC,
        "desired": Desired.PAUSED,
        "pending": (PendingCommand(command_id=COMMAND, verb="reboot", grace_s=30.0, cold=True),),
        "running": SPEC,
        "reserved": NEEDS,
        "once": RunOnce(host_id=HOST),
        "disks": ("data",),
        "last_host_id": HOST,
    }
)
DONE = Done(token=COMMAND, refused="not now")
KNOWN_HOST = Host(
    host_id=HOST, name="host-1", capacity=Resources(vcpus=8, memory_mib=4096), allocated=NEEDS, vms=1
)
REFUSAL = Refusal(host="host-2", filter="memory", needs="512 MiB", has="64 MiB free of 4096 MiB")


def messages() -> Iterator[tuple[str, Message]]:
    """Give a message of each type, with every optional field set, and the subject where it would lie."""
    yield from ((subjects.command(VM, COMMAND), message) for message in _commands())
    yield from ((subjects.vm_ctl(VM), message) for message in _about_the_vm())
    yield from ((subjects.host_ctl(HOST), message) for message in _about_the_host())
    yield subjects.host_desired(HOST), VmDesired(entry=_entry())
    claim = subjects.name_claim(SPEC.name)
    yield claim, ClaimTaken(kind=subjects.VM_NAME, value=SPEC.name, owner=VM)
    yield claim, ClaimReleased(kind=subjects.VM_NAME, value=SPEC.name, owner=VM)
    yield subjects.group_ctl("db"), GroupJoined(group="db", vm_id=VM, host_id=HOST)
    yield from ((subjects.vm_fact(VM, HOST), message) for message in _facts())
    yield subjects.host_fact(HOST), _report()


def _commands() -> tuple[Command, ...]:
    return (
        CreateVm(vm_id=VM, spec=SPEC),
        StartVm(vm_id=VM),
        StopVm(vm_id=VM, grace_s=30.0),
        DeleteVm(vm_id=VM),
        PowerOffVm(vm_id=VM),
        RebootVm(vm_id=VM, grace_s=30.0),
        ResetVm(vm_id=VM),
        PauseVm(vm_id=VM),
        ResumeVm(vm_id=VM),
        UpdateVm(
            vm_id=VM, patch={"vcpus": 4, "machine": None, "disks": [{"name": "data", "size_mib": 1024}]}
        ),
    )


def _about_the_vm() -> tuple[Message, ...]:
    return (
        VmCreated(vm=KNOWN_VM),
        VmPlaced(vm=PLACED_VM, placement=PLACEMENT, considered=2, refusals=(REFUSAL,)),
        VmStopRequested(vm=PLACED_VM.model_copy(update={"desired": Desired.STOPPED})),
        VmReleased(vm=KNOWN_VM, placement=PLACEMENT, cause=ReleaseCause.STOPPED),
        VmDeleted(vm=KNOWN_VM.model_copy(update={"desired": Desired.ABSENT})),
        VmActionRequested(vm=RUNNING_VM, verb="reboot"),
        VmUpdated(vm=RUNNING_VM, changed=("vcpus_max", "disks")),
        VmLiveUpdated(vm=RUNNING_VM, changed=("memory_mib",)),
        CommandJoined(command_id=COMMAND, vm=PLACED_VM),
        CommandEnded(
            command_id=COMMAND,
            outcome=Outcome.FAILED,
            code=Code.NO_HOST_FITS,
            facts={"considered": 2, "vcpus": 2, "memory_mib": 512, "refusals": [REFUSAL.model_dump()]},
            vm=KNOWN_VM,
        ),
    )


def _about_the_host() -> tuple[Message, ...]:
    return (
        HostRegistered(host=KNOWN_HOST),
        HostCapacityChanged(host=KNOWN_HOST, before=Resources(vcpus=4, memory_mib=2048)),
        HostReserved(host=KNOWN_HOST, vm_id=VM, resources=NEEDS),
        HostReleased(host=KNOWN_HOST, vm_id=VM, resources=NEEDS),
    )


def _facts() -> tuple[Message, ...]:
    run: dict[str, Any] = {"vm_id": VM, "host_id": HOST, "generation": GENERATION}
    return (
        *(kind(**run) for kind in (VmStarting, VmBooting, VmRunning, VmStopping)),
        VmStopped(**run, cause=StopCause.GUEST),
        VmStartFailed(**run, message="no such machine type"),
        VmPaused(**run, cause=PauseCause.IO_ERROR, disks=("data",), responding=False),
        *_notices(run | {"done": (DONE,), "disks": ("data",), "phase": VmPhase.RUNNING}),
    )


def _notices(run: dict[str, Any]) -> tuple[Message, ...]:
    plain = (VmResumed, VmRebooted, VmAgentConnected, VmAgentGone, VmResponding, VmPanicked)
    return (
        *(kind(**run) for kind in plain),
        VmActionDone(**run, token=COMMAND, verb=ActionVerb.REBOOT),
        VmNotResponding(**run, call="virDomainGetState"),
        VmIoErrorSeen(**run, disk="vda", reason="enospc", action="pause"),
        VmWatchdogFired(**run, action="reset"),
        VmBalloonChanged(**run, memory_mib=256),
        VmDeviceChanged(**run, device="net1", change="added"),
        VmDisksRemoved(**run, paths=("/storage/demo-data.qcow2",)),
    )


def _entry() -> DesiredVm:
    return DesiredVm(vm_id=VM, generation=GENERATION, desired=Desired.STOPPED, spec=SPEC, grace_s=30.0)


def _report() -> HostReported:
    versions = Versions(roost="0.1.0", hypervisor="QEMU", libvirt="9.0.0", qemu="7.2.22", kernel="6.1.0")
    return HostReported(
        host_id=HOST, name="host-1", cores=2, memory_mib=4608, versions=versions, boot_id="a-boot"
    )


def main() -> None:
    """Write what is missing, and say so."""
    SAMPLES.mkdir(exist_ok=True)
    origin = Origin(source="roost/sample", actor="admin", causation=COMMAND, correlation=COMMAND)
    for subject, message in messages():
        path = SAMPLES / f"{message.TYPE}.v{LATEST[message.TYPE]}.json"
        if not path.exists():
            sealed = Sealed(id=EVENT, subject=subject, time=NOON, origin=origin, message=message)
            path.write_bytes(codec.encode(sealed) + b"\n")
            print(f"wrote {path.name}")


if __name__ == "__main__":
    main()
