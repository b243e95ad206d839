"""What a host shall do about one VM: the one thing of the log that hosts read."""

from enum import StrEnum

from pydantic import Field

from events.ids import CommandId, Generation, VmId
from events.spec import MADE_DISKS_MAX, RunOnce, VmSpec
from events.values import GRACE_S_MAX, Desired, Name, Said, Value

ACTIONS_MAX = 16
"""Commands that may wait on one VM, and updates that wait for its stop."""


class ActionVerb(StrEnum):
    """What is done once, and not held: no look at the guest tells whether it was done."""

    REBOOT = "reboot"
    RESET = "reset"
    PAUSE = "pause"
    RESUME = "resume"
    UPDATE = "update"


class Action(Value):
    """One thing to be done once; its token is the command that asked for it."""

    token: CommandId
    verb: ActionVerb
    grace_s: float = Field(default=0.0, ge=0, le=GRACE_S_MAX)
    """For a reboot: how long the guest may take to do it by itself before it is reset."""
    fields: tuple[str, ...] = ()
    """For an update: what of the spec is to be taken over."""


class Done(Value):
    """An action that the host has done, or could not do."""

    token: CommandId
    refused: Said | None = None
    """The hypervisor's words where it would not."""


class DesiredVm(Value):
    """The whole entry of one VM in what a host shall run."""

    vm_id: VmId
    generation: Generation
    desired: Desired
    spec: VmSpec
    grace_s: float = Field(default=0.0, ge=0, le=GRACE_S_MAX)
    """How long the guest may take to shut down by itself before it is powered off."""
    once: RunOnce | None = None
    actions: tuple[Action, ...] = Field(default=(), max_length=ACTIONS_MAX)
    """In the order in which they were asked for; those that are done stay until the next entry."""
    made_disks: tuple[Name, ...] = Field(default=(), max_length=MADE_DISKS_MAX)
    """Disks that a host has made before: a missing one is a loss; made anew it would be empty."""
    remove_disks: bool = False
    """With `absent`: remove the files of its disks, too."""
