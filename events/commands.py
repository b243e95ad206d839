"""What may be asked for. A command's id is the id of its operation."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from events.ids import VmId
from events.spec import RunOnce, VmSpec
from events.values import GRACE_S_MAX, Value

GRACE_S_DEFAULT = 60.0


class CreateVm(Value):
    """Make a VM known. It places nothing and starts nothing."""

    TYPE: ClassVar = "vm.create"
    VERB: ClassVar[Literal["create"]] = "create"
    vm_id: VmId
    spec: VmSpec


class StartVm(Value):
    """Place the VM on a host and run it there."""

    TYPE: ClassVar = "vm.start"
    VERB: ClassVar[Literal["start"]] = "start"
    vm_id: VmId
    paused: bool = False
    """Stand still before the first instruction, to be resumed: so that the boot menu can be reached."""
    once: RunOnce | None = None


class StopVm(Value):
    """Shut the guest down; power it off when *grace_s* has passed."""

    TYPE: ClassVar = "vm.stop"
    VERB: ClassVar[Literal["stop"]] = "stop"
    vm_id: VmId
    grace_s: float = Field(default=GRACE_S_DEFAULT, ge=0, le=GRACE_S_MAX)


class PowerOffVm(Value):
    """End QEMU without asking the guest."""

    TYPE: ClassVar = "vm.power_off"
    VERB: ClassVar[Literal["power_off"]] = "power_off"
    vm_id: VmId


class RebootVm(Value):
    """Have the guest reboot; reset it when *grace_s* has passed. With pending changes: stop and start it."""

    TYPE: ClassVar = "vm.reboot"
    VERB: ClassVar[Literal["reboot"]] = "reboot"
    vm_id: VmId
    grace_s: float = Field(default=GRACE_S_DEFAULT, ge=0, le=GRACE_S_MAX)


class ResetVm(Value):
    """Press the reset button: the guest is not asked."""

    TYPE: ClassVar = "vm.reset"
    VERB: ClassVar[Literal["reset"]] = "reset"
    vm_id: VmId


class PauseVm(Value):
    """Have the guest's vCPUs stand still; its memory stays."""

    TYPE: ClassVar = "vm.pause"
    VERB: ClassVar[Literal["pause"]] = "pause"
    vm_id: VmId


class ResumeVm(Value):
    """Have the guest go on."""

    TYPE: ClassVar = "vm.resume"
    VERB: ClassVar[Literal["resume"]] = "resume"
    vm_id: VmId


class UpdateVm(Value):
    """Change what the VM is: at once what can be changed while it runs, the rest with its next start."""

    TYPE: ClassVar = "vm.update"
    VERB: ClassVar[Literal["update"]] = "update"
    vm_id: VmId
    patch: dict[str, Any]
    """Fields of the spec and their new values; the name stays."""


class DeleteVm(Value):
    """Forget a stopped VM, free its name and, unless told otherwise, remove its disks."""

    TYPE: ClassVar = "vm.delete"
    VERB: ClassVar[Literal["delete"]] = "delete"
    vm_id: VmId
    keep_disks: bool = False


VerbCommand = StartVm | StopVm | PowerOffVm | RebootVm | ResetVm | PauseVm | ResumeVm | UpdateVm | DeleteVm
"""A command about a VM that is there."""
Command = CreateVm | VerbCommand
