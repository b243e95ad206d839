"""Values that commands, events and views share. All are frozen and compare by content."""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from events.ids import Generation, HostId

NAME_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
"""An RFC 1123 label: usable as a host name inside the guest and as a token of a subject."""

GRACE_S_MAX = 3600.0

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]


MESSAGE_MAX = 4096
LABEL_MAX = 253


def storable(text: str, most: int) -> str:
    """Give *text* as every table can hold it: NUL and lone surrogates as escapes, and no more than *most*."""
    return text.encode(errors="backslashreplace").decode().replace("\0", r"\x00")[:most]


def _cut(most: int) -> BeforeValidator:
    return BeforeValidator(lambda said: storable(said, most) if isinstance(said, str) else said)


Said = Annotated[str, Field(max_length=MESSAGE_MAX), _cut(MESSAGE_MAX)]
"""What a hypervisor or a guest's QEMU says, in its own words, as much of it as an event takes."""
Label = Annotated[str, Field(max_length=LABEL_MAX), _cut(LABEL_MAX)]
"""A short word of theirs."""


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


class Desired(StrEnum):
    """What a VM, or a host's entry for it, shall be."""

    RUNNING = "running"
    PAUSED = "paused"
    """QEMU is there and its vCPUs stand still."""
    STOPPED = "stopped"
    ABSENT = "absent"


class VmPhase(StrEnum):
    """What a VM is. `events.vm.phase_of` is the one function that tells."""

    STOPPED = "stopped"
    STARTING = "starting"
    BOOTING = "booting"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"
    DELETED = "deleted"


class Placement(Value):
    """The right to run: this host, in this generation."""

    host_id: HostId
    generation: Generation


class Versions(Value):
    """The software that a host runs."""

    roost: str
    hypervisor: str
    libvirt: str
    qemu: str
    kernel: str
