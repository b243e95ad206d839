"""What may be asked for. A command's id is the id of its operation."""

from typing import ClassVar

from pydantic import Field

from events.ids import VmId
from events.values import GRACE_S_MAX, Value, VmSpec

GRACE_S_DEFAULT = 60.0


class CreateVm(Value):
    """Make a VM known. It places nothing and starts nothing."""

    TYPE: ClassVar = "vm.create"
    VERB: ClassVar = "create"
    vm_id: VmId
    spec: VmSpec


class StartVm(Value):
    """Place the VM on a host and run it there."""

    TYPE: ClassVar = "vm.start"
    VERB: ClassVar = "start"
    vm_id: VmId


class StopVm(Value):
    """Shut the guest down; power it off when *grace_s* has passed."""

    TYPE: ClassVar = "vm.stop"
    VERB: ClassVar = "stop"
    vm_id: VmId
    grace_s: float = Field(default=GRACE_S_DEFAULT, ge=0, le=GRACE_S_MAX)


class DeleteVm(Value):
    """Forget a stopped VM and free its name."""

    TYPE: ClassVar = "vm.delete"
    VERB: ClassVar = "delete"
    vm_id: VmId


Command = CreateVm | StartVm | StopVm | DeleteVm
