"""What has happened: decisions of the control plane. Each carries the whole small state that it leaves."""

from enum import StrEnum
from typing import Any, ClassVar, Literal

from pydantic import Field

from events.codes import Code
from events.desired import DesiredVm
from events.facts import HostReported, VmFact
from events.host import Host
from events.ids import CommandId, HostId, VmId
from events.values import Name, Placement, Resources, Value
from events.vm import Vm


class VmCreated(Value):
    """A VM is known; it is placed nowhere."""

    TYPE: ClassVar = "vm.created"
    vm: Vm


class Refusal(Value):
    """Why one host was not chosen, with the numbers."""

    host: str
    filter: str
    needs: str
    has: str


class VmPlaced(Value):
    """A host was given the right to run this VM, in a new generation."""

    TYPE: ClassVar = "vm.placed"
    vm: Vm
    placement: Placement
    considered: int
    """How many hosts were looked at."""
    refusals: tuple[Refusal, ...] = ()
    """Some of those that could not take it."""
    refused: dict[str, int] = Field(default_factory=dict)
    """How many hosts each filter refused."""
    policy: str = ""
    """By which the best of the others was chosen."""
    exposes: str = Field(default="", exclude_if=lambda host: not host)
    """A host whose highly available VMs find no place any more, should it fail; empty: none."""


class VmStopRequested(Value):
    """The VM shall stop on the host where it is placed."""

    TYPE: ClassVar = "vm.stop_requested"
    vm: Vm


class VmActionRequested(Value):
    """The host of the VM shall do one thing: reboot, reset, pause or resume it."""

    TYPE: ClassVar = "vm.action_requested"
    vm: Vm
    verb: Literal["pause", "resume", "reboot", "reset"]


class VmUpdated(Value):
    """What the VM shall be has changed."""

    TYPE: ClassVar = "vm.updated"
    vm: Vm
    changed: tuple[str, ...]
    """The fields of the spec."""


class VmLiveUpdated(Value):
    """The host has taken over in the running VM what could be changed while it runs."""

    TYPE: ClassVar = "vm.live_updated"
    vm: Vm
    changed: tuple[str, ...]


class ReleaseCause(StrEnum):
    """Why a placement ended."""

    STOPPED = "stopped"
    START_FAILED = "start_failed"


class VmReleased(Value):
    """The host was seen not to run the VM any more: its placement is over."""

    TYPE: ClassVar = "vm.released"
    vm: Vm
    placement: Placement
    cause: ReleaseCause


class VmDeleted(Value):
    """The VM is forgotten; its history stays."""

    TYPE: ClassVar = "vm.deleted"
    vm: Vm


class Outcome(StrEnum):
    """How a command ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"


class CommandEnded(Value):
    """The one end of a command, written onto its target's ctl subject with the target's unchanged state."""

    TYPE: ClassVar = "command.ended"
    command_id: CommandId
    outcome: Outcome
    code: Code | None = None
    """Set for every failure, and for a success that had nothing to do (`already_so`)."""
    facts: dict[str, Any] = Field(default_factory=dict)
    vm: Vm | None = None
    """None when the VM that the command names does not exist."""


class CommandJoined(Value):
    """A command waits for what is under way already and will end with it."""

    TYPE: ClassVar = "command.joined"
    command_id: CommandId
    vm: Vm


class HostRegistered(Value):
    """A host that reported for the first time may be given VMs."""

    TYPE: ClassVar = "host.registered"
    host: Host


class HostCapacityChanged(Value):
    """A host has more or less to give than before."""

    TYPE: ClassVar = "host.capacity_changed"
    host: Host
    before: Resources


class HostReserved(Value):
    """Room on the host was set aside for a VM, in the batch that placed it."""

    TYPE: ClassVar = "host.reserved"
    host: Host
    vm_id: VmId
    resources: Resources


class HostReleased(Value):
    """Room on the host was given back, in the batch that released the VM."""

    TYPE: ClassVar = "host.released"
    host: Host
    vm_id: VmId
    resources: Resources


class VmDesired(Value):
    """What a host shall do about one VM: the whole entry."""

    TYPE: ClassVar = "host.vm_desired"
    entry: DesiredVm


class ClaimTaken(Value):
    """A value that must be unique in the cluster belongs to a VM."""

    TYPE: ClassVar = "claim.taken"
    kind: str
    value: str
    owner: VmId


class ClaimReleased(Value):
    """The value is free again."""

    TYPE: ClassVar = "claim.released"
    kind: str
    value: str
    owner: VmId


class GroupJoined(Value):
    """A VM that names the group was placed, in this batch: who places another must have seen that."""

    TYPE: ClassVar = "group.joined"
    group: Name
    vm_id: VmId
    host_id: HostId


VmCtl = (
    VmCreated
    | VmPlaced
    | VmStopRequested
    | VmActionRequested
    | VmUpdated
    | VmLiveUpdated
    | VmReleased
    | VmDeleted
    | CommandJoined
    | CommandEnded
)
HostCtl = HostRegistered | HostCapacityChanged | HostReserved | HostReleased
Claim = ClaimTaken | ClaimReleased
Event = VmCtl | HostCtl | VmDesired | Claim | GroupJoined | VmFact | HostReported
