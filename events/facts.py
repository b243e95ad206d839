"""What hosts report: facts about the world, which nobody can refuse."""

from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from events.ids import Generation, HostId, VmId
from events.values import Resources, Value, Versions

MESSAGE_MAX = 4096
LABEL_MAX = 253
CORES_MAX, HOST_MEMORY_MIB_MAX = 2**16, 2**31 - 1
"""Above any machine; what a host says enters the control plane's arithmetic and events, so it is bounded."""


class StopCause(StrEnum):
    """Why a domain stopped, from libvirt's own shut-off reason."""

    COMMANDED = "commanded"
    """Within the grace time of a stop that was asked for."""
    FORCED = "forced"
    """Powered off after the grace time had run out."""
    GUEST = "guest"
    """The guest shut itself down."""
    POWERED_OFF = "powered_off"
    """Someone ended it through the hypervisor, past roost."""
    CRASHED = "crashed"
    LOST = "lost"
    """Gone without a trace that tells why: QEMU killed, or the host restarted."""


class _VmFact(Value):
    vm_id: VmId
    host_id: HostId
    generation: Generation


class VmStarting(_VmFact):
    """The host is about to ask the hypervisor to create the domain."""

    TYPE: ClassVar = "vm.starting"


class VmBooting(_VmFact):
    """QEMU runs the domain; the guest has not spoken yet."""

    TYPE: ClassVar = "vm.booting"


class VmRunning(_VmFact):
    """The guest agent has answered."""

    TYPE: ClassVar = "vm.running"


class VmStopping(_VmFact):
    """The guest was asked to shut down."""

    TYPE: ClassVar = "vm.stopping"


class VmStopped(_VmFact):
    """The domain no longer runs."""

    TYPE: ClassVar = "vm.stopped"
    cause: StopCause


class VmStartFailed(_VmFact):
    """The hypervisor refused for good; *message* is its own."""

    TYPE: ClassVar = "vm.start_failed"
    message: str = Field(max_length=MESSAGE_MAX)


VmFact = VmStarting | VmBooting | VmRunning | VmStopping | VmStopped | VmStartFailed


class HostReported(Value):
    """What a host is: sent when its daemon starts and when it changes."""

    TYPE: ClassVar = "host.reported"
    host_id: HostId
    name: str = Field(max_length=LABEL_MAX)
    cores: int = Field(ge=1, le=CORES_MAX)
    memory_mib: int = Field(ge=1, le=HOST_MEMORY_MIB_MAX)
    versions: Versions
    boot_id: str = Field(max_length=LABEL_MAX)

    @property
    def physical(self) -> Resources:
        """Cores and memory as the machine has them, before any over-commit or reserve."""
        return Resources(vcpus=self.cores, memory_mib=self.memory_mib)
