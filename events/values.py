"""Values that commands, events and views share. All are frozen and compare by content."""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from events.ids import Generation, HostId, VmId

NAME_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
"""An RFC 1123 label: usable as a host name inside the guest and as a token of a subject."""

MEMORY_MIB_MIN, MEMORY_MIB_MAX = 32, 16 * 1024 * 1024
VCPUS_MAX = 710  # QEMU's own limit for q35 in the oldest release that we run on
GRACE_S_MAX = 3600.0

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]


class Value(BaseModel):
    """A frozen value. Unknown fields are ignored on reading: an older reader meets a newer writer."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Resources(Value):
    """What a VM takes from a host, or a host has to give."""

    vcpus: int = Field(ge=0)
    memory_mib: int = Field(ge=0)

    def plus(self, other: "Resources") -> "Resources":
        """Add component by component."""
        return Resources(vcpus=self.vcpus + other.vcpus, memory_mib=self.memory_mib + other.memory_mib)

    def minus(self, other: "Resources") -> "Resources":
        """Subtract component by component; raises pydantic's ValidationError below zero."""
        return Resources(vcpus=self.vcpus - other.vcpus, memory_mib=self.memory_mib - other.memory_mib)


class VmSpec(Value):
    """What the user asked for."""

    name: Name
    vcpus: int = Field(ge=1, le=VCPUS_MAX)
    memory_mib: int = Field(ge=MEMORY_MIB_MIN, le=MEMORY_MIB_MAX)
    image: Name
    """A folder of that name in the image storage that every host sees."""

    @property
    def resources(self) -> Resources:
        """What this VM reserves on its host."""
        return Resources(vcpus=self.vcpus, memory_mib=self.memory_mib)


class Desired(StrEnum):
    """What a VM, or a host's entry for it, shall be."""

    RUNNING = "running"
    STOPPED = "stopped"
    ABSENT = "absent"


class VmPhase(StrEnum):
    """What a VM is. `events.vm.phase_of` is the one function that tells."""

    STOPPED = "stopped"
    STARTING = "starting"
    BOOTING = "booting"
    RUNNING = "running"
    STOPPING = "stopping"
    DELETED = "deleted"


class Placement(Value):
    """The right to run: this host, in this generation."""

    host_id: HostId
    generation: Generation


class DesiredVm(Value):
    """The whole entry of one VM in what a host shall run."""

    vm_id: VmId
    generation: Generation
    desired: Desired
    spec: VmSpec
    grace_s: float = Field(default=0.0, ge=0, le=GRACE_S_MAX)
    """How long the guest may take to shut down by itself before it is powered off."""


class Versions(Value):
    """The software that a host runs."""

    roost: str
    hypervisor: str
    libvirt: str
    qemu: str
    kernel: str
