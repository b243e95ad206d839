"""Draw what a domain will be made of: the spec, its images and the host's own defaults, all resolved."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from events.desired import DesiredVm
from events.effective import FailureCode, StartFailure, Step
from events.ids import VmId
from events.spec import IMAGE_DISK, BootDevice, Disk, DiskFormat, Nic, RunOnce
from events.values import Name
from services.hostd.hypervisor.port import HypervisorRefused, Image

IMAGE_STORAGE = "default"
"""Where the disk that an image brings along is made."""
DEFAULT_ORDER = (BootDevice.DISK, BootDevice.CD)
"""An empty disk boots nothing, so that the firmware goes on to an installer's CD."""

FindImage = Callable[[Name], Image]


@dataclass(frozen=True)
class Platform:
    """What this host's domains have in common."""

    domain_type: str
    """libvirt's own: `kvm`, or `qemu` where the machine has no hardware virtualisation."""
    machine: str
    console_folder: Path
    qemu_log_folder: Path = Path("/var/log/libvirt/qemu")
    storages: Mapping[Name, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class DiskFile:
    """One disk: the file that it is, and what it would be made from."""

    name: Name
    path: Path
    format: DiskFormat
    size_mib: int | None
    base: Path | None
    base_format: DiskFormat = DiskFormat.QCOW2


@dataclass(frozen=True)
class Boot:
    """What is booted: a kernel, where there is one; else what the firmware finds in this order."""

    kernel: Path | None
    initrd: Path | None
    cmdline: str
    order: tuple[BootDevice, ...]


@dataclass(frozen=True)
class Blueprint:
    """A domain to be."""

    desired: DesiredVm
    machine: str
    boot: Boot
    disks: tuple[DiskFile, ...]
    cds: tuple[Path, ...]
    nics: tuple[Nic, ...]
    """Each with its address."""


def failure(step: Step, code: FailureCode, message: str) -> StartFailure:
    """Say what is wrong."""
    return StartFailure(step=step, code=code, message=message)


class Draughtsman:
    """Draws the blueprint of one start, and notes what is missing for it rather than stop at the first."""

    def __init__(self, desired: DesiredVm, find_image: FindImage, platform: Platform) -> None:
        self._desired = desired
        self._find_image = find_image
        self._platform = platform
        self._once = desired.once or RunOnce()
        self._images: dict[Name, Image | None] = {}
        self.failures: list[StartFailure] = []

    def draw(self) -> Blueprint:
        """Resolve everything; what could not be is left out and noted in `failures`."""
        spec = self._desired.spec
        image = self._image(spec.image)
        self._check_order(image)
        return Blueprint(
            desired=self._desired,
            machine=spec.machine or self._platform.machine,
            boot=self._boot(image),
            disks=self._disks(image),
            cds=self._cds(image),
            nics=tuple(self._with_mac(nic, number) for number, nic in enumerate(spec.nics)),
        )

    def _with_mac(self, nic: Nic, number: int) -> Nic:
        return (
            nic
            if nic.mac is not None
            else Nic(network=nic.network, mac=made_mac(self._desired.vm_id, number))
        )

    def _cds(self, image: Image | None) -> tuple[Path, ...]:
        cd = image.cd if image is not None else None
        if self._once.cd is not None:
            cd = self._part(self._once.cd, "cd")
        return (cd,) if cd is not None else ()

    def _boot(self, image: Image | None) -> Boot:
        order = self._once.boot or DEFAULT_ORDER
        if self._once.kernel is not None:
            image = self._image(self._once.kernel) if self._part(self._once.kernel, "kernel") else None
        elif self._once.boot:
            image = None
        if image is None or image.kernel is None:
            return Boot(None, None, "", order)
        cmdline = image.cmdline if self._once.cmdline is None else self._once.cmdline
        return Boot(image.kernel, image.initrd, cmdline, order)

    def _check_order(self, image: Image | None) -> None:
        """Note where what shall be booted from is not even asked for."""
        once = self._once
        if image is None or once.kernel is not None:
            return
        if image.kernel is not None and not once.boot:
            return
        there = {
            BootDevice.DISK: bool(self._desired.spec.disks) or image.disk is not None,
            BootDevice.CD: once.cd is not None or image.cd is not None,
            BootDevice.NETWORK: bool(self._desired.spec.nics),
        }
        has = ", ".join(device for device in BootDevice if there[device]) or "none of these"
        lacking = [device for device in once.boot or DEFAULT_ORDER if not there[device]]
        if once.boot and lacking:
            said = f"it shall boot from {', '.join(lacking)}, but has {has}; try another boot order"
            self._wrong(FailureCode.BOOT_SOURCE, said)
        elif not any(there[device] for device in DEFAULT_ORDER) and not once.boot:
            name = self._desired.spec.image
            said = f"nothing to boot: image {name!r} has no kernel, and there is no disk and no CD"
            self._wrong(FailureCode.BOOT_SOURCE, said)
        if once.cmdline is not None:
            said = "a kernel command line is given, but no kernel is booted; name one, or leave it out"
            self._wrong(FailureCode.BOOT_SOURCE, said)

    def _disks(self, image: Image | None) -> tuple[DiskFile, ...]:
        wanted = list(self._desired.spec.disks)
        if image is not None and image.disk is not None:
            own = Disk(name=IMAGE_DISK, base=self._desired.spec.image, storage=IMAGE_STORAGE)
            wanted.insert(0, own)
        return tuple(drawn for disk in wanted if (drawn := self._disk(disk)) is not None)

    def _disk(self, disk: Disk) -> DiskFile | None:
        storage = self._platform.storages.get(disk.storage)
        if storage is None:
            known = ", ".join(sorted(self._platform.storages)) or "none"
            self._wrong(
                FailureCode.STORAGE,
                f"disk {disk.name!r} is in storage {disk.storage!r}, which this host does not have "
                f"(it has: {known}); name one of these, or add it to ROOST_STORAGES of the host's daemon",
            )
            return None
        path = storage / str(self._desired.vm_id) / f"{disk.name}.{disk.format}"
        if disk.base is None:
            return DiskFile(disk.name, path, disk.format, disk.size_mib, None)
        image = self._image(disk.base)
        base = self._part(disk.base, "disk")
        if image is None or base is None:
            return None
        return DiskFile(disk.name, path, disk.format, disk.size_mib, base, DiskFormat(image.disk_format))

    def _part(self, name: Name, part: str) -> Path | None:
        """Find the kernel, disk or cd of an image; note it where there is none."""
        image = self._image(name)
        found: Path | None = getattr(image, part) if image is not None else None
        if image is not None and found is None:
            code = FailureCode.DISK if part == "disk" else FailureCode.BOOT_SOURCE
            self._wrong(code, f"image {name!r} has no {part}; name one that has, or add it to its manifest")
        return found

    def _image(self, name: Name) -> Image | None:
        if name not in self._images:
            try:
                self._images[name] = self._find_image(name)
            except HypervisorRefused as err:
                self._images[name] = None
                self._wrong(FailureCode.IMAGE, str(err))
        return self._images[name]

    def _wrong(self, code: FailureCode, message: str) -> None:
        found = failure(Step.VALIDATE, code, message)
        if found not in self.failures:  # several disks may want the same image
            self.failures.append(found)


def domain_name(desired: DesiredVm) -> str:
    """Name the domain so that a person knows it and no other VM, past or future, has the same."""
    return f"{desired.spec.name}-{str(desired.vm_id)[:8]}"


def made_mac(vm_id: VmId, index: int) -> str:
    """Make the address of a VM's card: the same at every start, and locally administered (IEEE 802, 02:)."""
    digest = hashlib.sha256(vm_id.bytes + index.to_bytes(2, "big")).hexdigest()
    return "02:" + ":".join(digest[at : at + 2] for at in range(0, 10, 2))
