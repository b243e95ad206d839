"""What a user may ask of a VM, and of one run of it. Everything is frozen and compares by content."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints, model_validator

from events.ids import HostId
from events.values import Name, Resources, Value
from events.wishes import NOTHING_WISHED, PlacementWishes

MEMORY_MIB_MIN, MEMORY_MIB_MAX = 32, 16 * 1024 * 1024
VCPUS_MAX = 710  # QEMU's own limit for q35 in the oldest release that we run on
DISK_MIB_MAX = 64 * 1024 * 1024
DISKS_MAX, NICS_MAX = 16, 8
MADE_DISKS_MAX = 64
"""Disks that one VM has ever had: those that were left out since keep their files until it is deleted."""
CMDLINE_MAX = 2000
"""Linux reads 2,048 bytes on x86 (COMMAND_LINE_SIZE)."""
AGENT_WAIT_S_DEFAULT, AGENT_WAIT_S_MAX = 120.0, 3600.0
PRIORITY_MAX = 100

QEMU_MIB, VIDEO_MIB, VCPU_MIB = 64, 16, 8
"""What QEMU takes for itself, for the guest's screen, and for each vCPU."""
GUEST_PER_PAGES = 512
"""Bytes of a guest's memory to one byte of the tables that map it."""

Token = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$")]
"""A machine type or a CPU model, as libvirt names it."""
Bridge = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,14}$")]
"""A network device's name: the kernel takes 15 characters."""
Mac = Annotated[str, StringConstraints(pattern=r"^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$")]
"""A unicast address in lower case: the lowest bit of the first octet is 0."""
Printable = Annotated[str, StringConstraints(pattern=r"^[ -~]*$", max_length=CMDLINE_MAX)]


class DiskFormat(StrEnum):
    """How a disk's file is laid out."""

    QCOW2 = "qcow2"
    RAW = "raw"


class Disk(Value):
    """One disk: a file of its own in a storage folder, made at the first start."""

    name: Name
    size_mib: int | None = Field(default=None, ge=1, le=DISK_MIB_MAX)
    """None: as large as its base."""
    base: Name | None = None
    """The image whose disk it is made from; None: it begins empty."""
    format: DiskFormat = DiskFormat.QCOW2
    storage: Name = "default"
    """One of the folders that the host's daemon was given under such a name."""

    @model_validator(mode="after")
    def _has_a_size(self) -> Self:
        if self.size_mib is None and self.base is None:
            raise ValueError(f"disk {self.name!r} needs size_mib or base")
        return self


class Nic(Value):
    """One network card on a bridge of the host."""

    network: Bridge
    mac: Mac | None = None
    """None: made from the VM's id and the card's place, the same at every start."""


class Graphics(StrEnum):
    """What shows the guest's screen."""

    NONE = "none"
    VNC = "vnc"
    """On a Unix socket that only root and the daemon can reach."""


class ErrorPolicy(StrEnum):
    """What becomes of a guest that its hypervisor has paused after an I/O error or for want of space."""

    AUTO_RESUME = "auto_resume"
    LEAVE_PAUSED = "leave_paused"
    KILL = "kill"


class VmSpec(Value):
    """What the user asked for."""

    name: Name
    vcpus: int = Field(ge=1, le=VCPUS_MAX)
    memory_mib: int = Field(ge=MEMORY_MIB_MIN, le=MEMORY_MIB_MAX)
    image: Name
    """A folder of that name in the image storage that every host sees: a kernel, a disk or a CD to boot."""
    vcpus_max: int | None = Field(default=None, ge=1, le=VCPUS_MAX)
    """How many vCPUs may be plugged while it runs; all of them are reserved. None: as many as `vcpus`."""
    machine: Token | None = None
    cpu_model: Token | None = None
    disks: tuple[Disk, ...] = Field(default=(), max_length=DISKS_MAX)
    """Beside the one that the image may have."""
    nics: tuple[Nic, ...] = Field(default=(), max_length=NICS_MAX)
    graphics: Graphics = Graphics.NONE
    persistent: bool = True
    """False: the hypervisor forgets the domain in the moment in which it stops."""
    on_io_error: ErrorPolicy = ErrorPolicy.AUTO_RESUME
    agent_wait_s: float = Field(default=AGENT_WAIT_S_DEFAULT, ge=0, le=AGENT_WAIT_S_MAX)
    """How long after its boot a guest counts as running although its agent has not answered."""
    priority: int = Field(default=50, ge=0, le=PRIORITY_MAX)
    """Who starts first where several wait for the same host: the higher."""
    highly_available: bool = Field(default=False, exclude_if=lambda wished: not wished)
    """Room is kept for it on other hosts, should its own fail, for as many failures as are tolerated."""
    placement: PlacementWishes = Field(
        default=NOTHING_WISHED, exclude_if=lambda wishes: wishes == NOTHING_WISHED
    )
    """Where it may start; what runs was placed by the wishes of then."""

    @property
    def resources(self) -> Resources:
        """What the guest itself is given."""
        return Resources(vcpus=self.vcpus_max or self.vcpus, memory_mib=self.memory_mib)

    @property
    def needs(self) -> Resources:
        """What this VM reserves on its host: what its guest is given, and what QEMU takes beside that.

        oVirt's formula for x86 (VmOverheadCalculatorImpl), which its users have run on for years.
        """
        guest = self.resources
        overhead_mib = QEMU_MIB + VIDEO_MIB + VCPU_MIB * guest.vcpus - -guest.memory_mib // GUEST_PER_PAGES
        return Resources(vcpus=guest.vcpus, memory_mib=guest.memory_mib + overhead_mib)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.vcpus_max is not None and self.vcpus_max < self.vcpus:
            raise ValueError(f"vcpus_max is {self.vcpus_max}, below vcpus, which is {self.vcpus}")
        names = [disk.name for disk in self.disks]
        if len(set(names)) < len(names) or IMAGE_DISK in names:
            raise ValueError(f"disk names must differ, and {IMAGE_DISK!r} is the image's own")
        return self


IMAGE_DISK = "image"
"""The name of the disk that is made from the VM's own image, where that has one."""

LIVE_FIELDS = frozenset(
    {"vcpus", "memory_mib", "on_io_error", "agent_wait_s", "priority", "highly_available"}
)
"""What a running VM may take over (`is_live` says when); everything else waits for its next start."""


def changed_fields(before: VmSpec, after: VmSpec) -> tuple[str, ...]:
    """Name the fields in which two specs differ."""
    return tuple(name for name in VmSpec.model_fields if getattr(before, name) != getattr(after, name))


def is_live(running: VmSpec, reserved: Resources, wanted: VmSpec, name: str) -> bool:
    """Tell whether a VM that runs as *running* within *reserved* can take over *wanted*'s field of that name.

    Memory goes down and up through the balloon, never above what was reserved; vCPUs are plugged likewise.
    """
    match name:
        case "vcpus":
            return wanted.vcpus <= reserved.vcpus
        case "memory_mib":
            shrunk = wanted.memory_mib <= running.memory_mib
            limits = {"memory_mib": wanted.memory_mib, "vcpus": reserved.vcpus, "vcpus_max": None}
            needs = running.model_copy(update=limits).needs
            return shrunk or needs.memory_mib <= reserved.memory_mib
        case _:
            return name in LIVE_FIELDS


def live_fields(running: VmSpec, reserved: Resources, wanted: VmSpec) -> tuple[str, ...]:
    """Name what of *wanted* a VM that runs as *running* can take over while it runs."""
    return tuple(name for name in changed_fields(running, wanted) if is_live(running, reserved, wanted, name))


def with_fields(spec: VmSpec, source: VmSpec, names: Iterable[str]) -> VmSpec:
    """Give *spec* with these fields as *source* has them."""
    return spec.model_copy(update={name: getattr(source, name) for name in names})


def merged(spec: VmSpec, patch: Mapping[str, Any]) -> VmSpec:
    """Give *spec* with the fields of *patch* in place of its own; raises pydantic's ValidationError.

    As RFC 7396 has it: of an object what is named is changed, all else is replaced as a whole.
    """
    before = spec.model_dump()
    return VmSpec.model_validate(before | {name: _merged(before.get(name), patch[name]) for name in patch})


def _merged(before: Any, after: Any) -> Any:
    return before | after if isinstance(before, dict) and isinstance(after, dict) else after


class BootDevice(StrEnum):
    """Where the firmware looks for something to boot."""

    DISK = "disk"
    CD = "cd"
    NETWORK = "network"


class RunOnce(Value):
    """What holds for one run only; nothing of it is kept afterwards."""

    host_id: HostId | None = None
    """The only host that may be chosen."""
    boot: tuple[BootDevice, ...] = Field(default=(), max_length=3)
    """In this order; it leaves the image's kernel aside."""
    cd: Name | None = None
    """The image whose CD is put in."""
    kernel: Name | None = None
    """The image whose kernel is booted instead of the VM's own."""
    cmdline: Printable | None = None
