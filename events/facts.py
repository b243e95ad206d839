"""What hosts report: facts about the world, which nobody can refuse."""

from enum import StrEnum
from typing import ClassVar, Literal

from pydantic import Field

from events.desired import ACTIONS_MAX, ActionVerb, Done
from events.effective import FAILURES_MAX, Effective, StartFailure, Step
from events.ids import CommandId, Generation, HostId, VmId
from events.machine import MachineFacts
from events.spec import DISKS_MAX, MADE_DISKS_MAX
from events.values import LABEL_MAX, Label, Name, Resources, Said, Value, Versions, VmPhase

CORES_MAX, HOST_MEMORY_MIB_MAX = 2**16, 2**31 - 1
"""Above any machine; what a host says enters the control plane's arithmetic and events, so it is bounded."""


class StopCause(StrEnum):
    """Why a domain stopped, from libvirt's own shut-off reason or its last lifecycle event."""

    COMMANDED = "commanded"
    """Within the grace time of a stop that was asked for."""
    FORCED = "forced"
    """Powered off after the grace time had run out."""
    GUEST = "guest"
    """The guest shut itself down."""
    POWERED_OFF = "powered_off"
    """Someone ended it through the hypervisor, past roost."""
    CRASHED = "crashed"
    IO_ERROR = "io_error"
    """Powered off after an I/O error, as its policy says."""
    MIGRATED = "migrated"
    HOST_SHUTDOWN = "host_shutdown"
    LOST = "lost"
    """Gone without a trace that tells why: QEMU killed, or the host restarted."""


class PauseCause(StrEnum):
    """Why a guest stands still, from libvirt's own reason for the pause."""

    USER = "user"
    IO_ERROR = "io_error"
    NO_SPACE = "no_space"
    WATCHDOG = "watchdog"
    MIGRATION = "migration"
    CRASHED = "crashed"
    """The guest's kernel has panicked and was left to be looked at."""
    OTHER = "other"
    """The hypervisor is at work on it (a snapshot, a dump), or gives no reason."""


class RunFact(Value):
    """Each carries the small whole state of the run: whoever meets the last one knows all that counts."""

    vm_id: VmId
    host_id: HostId
    generation: Generation
    done: tuple[Done, ...] = Field(default=(), max_length=ACTIONS_MAX)
    """What became of the actions that the host's entry for this VM names."""
    disks: tuple[Name, ...] = Field(default=(), max_length=DISKS_MAX + 1)
    """Those of its disks that the host has seen in this run, or made for it."""
    responding: bool = True
    """False: the hypervisor gave no answer about this guest in time."""


class VmStarting(RunFact):
    """The host is about to ask the hypervisor to create the domain."""

    TYPE: ClassVar = "vm.starting"


class VmBooting(RunFact):
    """QEMU runs the domain; the guest has not spoken yet."""

    TYPE: ClassVar = "vm.booting"
    steps: tuple[Step, ...] = Field(default=(), max_length=len(Step))
    """The steps of the start that were passed; none where the domain was found running."""
    effective: Effective | None = None


class VmRunning(RunFact):
    """The guest agent has answered, or the time that it is waited for has passed."""

    TYPE: ClassVar = "vm.running"
    agent: bool = True
    """False: the time has passed."""


class VmPaused(RunFact):
    """The guest stands still."""

    TYPE: ClassVar = "vm.paused"
    cause: PauseCause


class VmStopping(RunFact):
    """The guest was asked to shut down."""

    TYPE: ClassVar = "vm.stopping"


class VmStopped(RunFact):
    """The domain no longer runs."""

    TYPE: ClassVar = "vm.stopped"
    cause: StopCause


class VmStartFailed(RunFact):
    """The start was refused for good; *message* is the hypervisor's own, or sums up *failures*."""

    TYPE: ClassVar = "vm.start_failed"
    message: Said
    failures: tuple[StartFailure, ...] = Field(default=(), max_length=FAILURES_MAX)
    log_tail: Said = ""
    """The end of QEMU's own log, where QEMU had been started."""


class Notice(RunFact):
    """Something happened to a guest, or was done to it, beside the steps of its life: it names the phase."""

    phase: VmPhase


class VmResumed(Notice):
    """The guest goes on."""

    TYPE: ClassVar = "vm.resumed"


class VmActionDone(Notice):
    """An action of the entry was done, or could not be: see `done`."""

    TYPE: ClassVar = "vm.action_done"
    token: CommandId
    verb: ActionVerb


class VmRebooted(Notice):
    """The guest was reset or has rebooted."""

    TYPE: ClassVar = "vm.rebooted"


class VmAgentConnected(Notice):
    """The guest's agent has opened its channel."""

    TYPE: ClassVar = "vm.agent_connected"


class VmAgentGone(Notice):
    """The guest's agent has closed its channel."""

    TYPE: ClassVar = "vm.agent_gone"


class VmNotResponding(Notice):
    """The hypervisor gave no answer about this guest in time; others are not affected."""

    TYPE: ClassVar = "vm.not_responding"
    call: Label


class VmResponding(Notice):
    """The hypervisor answers about this guest again."""

    TYPE: ClassVar = "vm.responding"


class VmIoErrorSeen(Notice):
    """A disk of the guest met an I/O error."""

    TYPE: ClassVar = "vm.io_error"
    disk: Label
    reason: Label
    """QEMU's own: `enospc`, or empty where it gives none."""
    action: Label
    """What QEMU did: `none`, `pause` or `report`."""


class VmWatchdogFired(Notice):
    """The guest's watchdog device was not fed in time."""

    TYPE: ClassVar = "vm.watchdog_fired"
    action: Label


class VmPanicked(Notice):
    """The guest's kernel said that it has panicked."""

    TYPE: ClassVar = "vm.panicked"


class VmBalloonChanged(Notice):
    """The guest has given memory back, or taken it."""

    TYPE: ClassVar = "vm.balloon_changed"
    memory_mib: int = Field(ge=0)


class VmDeviceChanged(Notice):
    """A device was plugged or unplugged while the guest runs."""

    TYPE: ClassVar = "vm.device_changed"
    device: Label
    change: Literal["added", "removed", "removal_failed"]


class VmDisksRemoved(Notice):
    """The files of a deleted VM's disks are gone from this host."""

    TYPE: ClassVar = "vm.disks_removed"
    paths: tuple[Said, ...] = Field(default=(), max_length=MADE_DISKS_MAX)


VmNotice = (
    VmResumed
    | VmActionDone
    | VmRebooted
    | VmAgentConnected
    | VmAgentGone
    | VmNotResponding
    | VmResponding
    | VmIoErrorSeen
    | VmWatchdogFired
    | VmPanicked
    | VmBalloonChanged
    | VmDeviceChanged
    | VmDisksRemoved
)
VmFact = VmStarting | VmBooting | VmRunning | VmPaused | VmStopping | VmStopped | VmStartFailed | VmNotice


class HostReported(Value):
    """What a host is: sent when its daemon starts and when it changes."""

    TYPE: ClassVar = "host.reported"
    host_id: HostId
    name: str = Field(max_length=LABEL_MAX)
    cores: int = Field(ge=1, le=CORES_MAX)
    memory_mib: int = Field(ge=1, le=HOST_MEMORY_MIB_MAX)
    versions: Versions
    boot_id: str = Field(max_length=LABEL_MAX)
    machine: MachineFacts | None = None
    """None from a daemon of an older release."""

    @property
    def physical(self) -> Resources:
        """Cores and memory as the machine has them, before any over-commit or reserve."""
        return Resources(vcpus=self.cores, memory_mib=self.memory_mib)
