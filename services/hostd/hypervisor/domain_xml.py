"""Write a domain's XML. Every value goes in through the tree, so that none can leave its element."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lxml import etree
from lxml.builder import ElementMaker

from events.ids import Generation
from events.spec import BootDevice, Graphics, Nic
from services.hostd.hypervisor.blueprint import Blueprint, DiskFile, Platform, domain_name
from services.hostd.hypervisor.disks import cache_mode

NAMESPACE = "urn:roost:vm:1"
"""Marks a domain as ours and says of which generation it is."""

AGENT_CHANNEL = "org.qemu.guest_agent.0"
"""The channel's name that libvirt and qemu-ga agree on (libvirt, formatdomain.html#channel)."""
BALLOON_PERIOD_S = 5
"""How often the guest's balloon driver tells of its memory."""
DISK_ALIAS = "ua-disk-"
"""libvirt keeps the aliases of users only where they begin with `ua-` (formatdomain.html#devices)."""

_E = ElementMaker()
_ROOST = ElementMaker(namespace=NAMESPACE, nsmap={"roost": NAMESPACE})


def domain_xml(blueprint: Blueprint, platform: Platform) -> str:
    """Describe the domain of *blueprint*."""
    desired = blueprint.desired
    spec = desired.spec
    mark = {"generation": str(desired.generation), "persistent": _yes(spec.persistent)}
    mark |= {"once": _yes(desired.once is not None)}
    tree = _E.domain(
        _E.name(domain_name(desired)),
        _E.uuid(str(desired.vm_id)),
        _E.metadata(_ROOST.vm(**mark)),
        _E.memory(str(spec.memory_mib), unit="MiB"),
        _E.vcpu(str(spec.vcpus_max or spec.vcpus), current=str(spec.vcpus)),
        _os(blueprint),
        _E.features(_E.acpi(), _E.apic()),  # without ACPI a guest cannot power itself off
        *_cpu(blueprint, platform),
        _clock(platform),
        _E.on_poweroff("destroy"),
        _E.on_reboot("restart"),
        # What has panicked stays, paused, to be looked at: it is for its owner to end or restart it.
        _E.on_crash("preserve"),
        _E.devices(*_devices(blueprint, platform)),
        type=platform.domain_type,
    )
    return str(etree.tostring(tree, encoding="unicode", pretty_print=True))


def generation_of(metadata: str) -> Generation:
    """Read the generation back from the metadata element; ValueError where it is damaged."""
    found = etree.fromstring(metadata.encode()).get("generation")
    return Generation(int(found or ""))


def disk_of_alias(alias: str) -> str:
    """Tell the name of the disk whose device has this alias; empty where it is none of ours."""
    return alias.removeprefix(DISK_ALIAS) if alias.startswith(DISK_ALIAS) else ""


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"


def _os(blueprint: Blueprint) -> Any:
    boot = blueprint.boot
    tree = _E.os(_E.type("hvm", machine=blueprint.machine))
    if boot.kernel is not None:
        tree.append(_E.kernel(str(boot.kernel)))
        if boot.initrd is not None:
            tree.append(_E.initrd(str(boot.initrd)))
        tree.append(_E.cmdline(boot.cmdline))
    return tree


def _cpu(blueprint: Blueprint, platform: Platform) -> Iterator[Any]:
    """The model asked for; else the host's own as far as it can be moved, or QEMU's where it is emulated."""
    model = blueprint.desired.spec.cpu_model
    if model is not None:
        yield _E.cpu(_E.model(model, fallback="forbid"), mode="custom", match="exact", check="partial")
    elif platform.domain_type == "kvm":
        yield _E.cpu(mode="host-model")


def _clock(platform: Platform) -> Any:
    """UTC, and timers that catch up what a guest missed while it had no CPU."""
    timers = [
        _E.timer(name="rtc", tickpolicy="catchup"),
        _E.timer(name="pit", tickpolicy="delay"),
        _E.timer(name="hpet", present="no"),
    ]
    if platform.domain_type == "kvm":
        timers.append(_E.timer(name="kvmclock", present="yes"))
    return _E.clock(*timers, offset="utc")


def _devices(blueprint: Blueprint, platform: Platform) -> Iterator[Any]:
    desired = blueprint.desired
    yield _E.controller(type="usb", model="none")
    yield _E.controller(type="virtio-serial")
    order = _BootOrder(blueprint.boot.order)
    for number, disk in enumerate(blueprint.disks):
        yield _disk(disk, number, order)
    for number, cd in enumerate(blueprint.cds):
        yield _cd(cd, number, blueprint.machine, order)
    for number, nic in enumerate(blueprint.nics):
        yield _nic(nic, number, order)
    console = platform.console_folder / f"{desired.vm_id}.console.log"
    yield _E.serial(_E.log(file=str(console), append="on"), _E.target(port="0"), type="pty")
    yield _E.console(_E.target(type="serial", port="0"), type="pty")
    yield _E.channel(_E.target(type="virtio", name=AGENT_CHANNEL), type="unix")
    if desired.spec.graphics is Graphics.VNC:
        yield _E.graphics(_E.listen(type="socket"), type="vnc")
        yield _E.video(_E.model(type="vga"))
    else:
        yield _E.video(_E.model(type="none"))
    yield _E.memballoon(_E.stats(period=str(BALLOON_PERIOD_S)), model="virtio")
    yield _E.rng(_E.backend("/dev/urandom", model="random"), model="virtio")
    yield _E.panic(model="isa")


class _BootOrder:
    """Numbers devices: all of the kind that comes first in the order, then those of the next."""

    def __init__(self, order: tuple[BootDevice, ...]) -> None:
        self._order = order

    def of(self, kind: BootDevice, number: int) -> list[Any]:
        """The element that gives a device its place; none where it is not booted from."""
        if kind not in self._order:
            return []
        return [_E.boot(order=str(1 + 100 * self._order.index(kind) + number))]


def _disk(disk: DiskFile, number: int, order: _BootOrder) -> Any:
    driver = {"name": "qemu", "type": disk.format.value, "discard": "unmap", "error_policy": "stop"}
    return _E.disk(
        _E.driver(cache=cache_mode(disk.path), **driver),
        _E.source(file=str(disk.path)),
        _E.target(dev=f"vd{_letter(number)}", bus="virtio"),
        *order.of(BootDevice.DISK, number),
        _E.alias(name=f"{DISK_ALIAS}{disk.name}"),
        type="file",
        device="disk",
    )


def _cd(cd: Path, number: int, machine: str, order: _BootOrder) -> Any:
    # i440fx has IDE and no SATA, q35 SATA and no IDE.
    prefix, bus = ("sd", "sata") if "q35" in machine else ("hd", "ide")
    return _E.disk(
        _E.driver(name="qemu", type="raw"),
        _E.source(file=str(cd)),
        _E.target(dev=f"{prefix}{_letter(number)}", bus=bus),
        _E.readonly(),
        *order.of(BootDevice.CD, number),
        type="file",
        device="cdrom",
    )


def _nic(nic: Nic, number: int, order: _BootOrder) -> Any:
    return _E.interface(
        _E.mac(address=nic.mac or ""),
        _E.source(bridge=nic.network),
        _E.model(type="virtio"),
        *order.of(BootDevice.NETWORK, number),
        type="bridge",
    )


def _letter(number: int) -> str:
    return "abcdefghijklmnopqrstuvwxyz"[number]
