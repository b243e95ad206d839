"""Write and read domain XML. Every value goes in through the tree, so that none can leave its element."""

from dataclasses import dataclass
from pathlib import Path

from lxml import etree
from lxml.builder import ElementMaker

from events.ids import Generation
from events.values import DesiredVm
from services.hostd.hypervisor.port import Image

NAMESPACE = "urn:roost:vm:1"
"""Marks a domain as ours and says of which generation it is."""

AGENT_CHANNEL = "org.qemu.guest_agent.0"
"""The channel's name that libvirt and qemu-ga agree on (libvirt, formatdomain.html#channel)."""


@dataclass(frozen=True)
class Platform:
    """What this host's domains have in common."""

    domain_type: str
    """libvirt's own: `kvm`, or `qemu` where the machine has no hardware virtualisation."""
    machine: str
    console_folder: Path


_E = ElementMaker()
_ROOST = ElementMaker(namespace=NAMESPACE, nsmap={"roost": NAMESPACE})


def domain_xml(desired: DesiredVm, image: Image, platform: Platform) -> str:
    """Describe the domain of *desired*."""
    spec = desired.spec
    console = platform.console_folder / f"{desired.vm_id}.console.log"
    tree = _E.domain(
        _E.name(domain_name(desired)),
        _E.uuid(str(desired.vm_id)),
        _E.metadata(_ROOST.vm(generation=str(desired.generation))),
        _E.memory(str(spec.memory_mib), unit="MiB"),
        _E.vcpu(str(spec.vcpus)),
        _E.os(
            _E.type("hvm", machine=platform.machine),
            _E.kernel(str(image.kernel)),
            _E.initrd(str(image.initrd)),
            _E.cmdline(image.cmdline),
        ),
        _E.features(_E.acpi(), _E.apic()),  # without ACPI a guest cannot power itself off
        _E.on_poweroff("destroy"),
        _E.on_reboot("restart"),
        _E.on_crash("destroy"),
        _E.devices(
            _E.controller(type="usb", model="none"),
            _E.controller(type="virtio-serial"),
            _E.serial(_E.log(file=str(console), append="on"), _E.target(port="0"), type="pty"),
            _E.console(_E.target(type="serial", port="0"), type="pty"),
            _E.channel(_E.target(type="virtio", name=AGENT_CHANNEL), type="unix"),
            _E.video(_E.model(type="none")),
            _E.memballoon(model="virtio"),
            _E.rng(_E.backend("/dev/urandom", model="random"), model="virtio"),
        ),
        type=platform.domain_type,
    )
    return str(etree.tostring(tree, encoding="unicode", pretty_print=True))


def domain_name(desired: DesiredVm) -> str:
    """Name the domain so that a person knows it and no other VM, past or future, has the same."""
    return f"{desired.spec.name}-{str(desired.vm_id)[:8]}"


def generation_of(metadata: str) -> Generation:
    """Read the generation back from the metadata element; ValueError where it is damaged."""
    found = etree.fromstring(metadata.encode()).get("generation")
    return Generation(int(found or ""))


def agent_connected(xml: str) -> bool:
    """Tell from a live domain's XML whether the guest has opened the agent's channel."""
    tree = etree.fromstring(xml.encode())
    path = f"./devices/channel/target[@name='{AGENT_CHANNEL}']/@state"
    return bool(tree.xpath(path) == ["connected"])
