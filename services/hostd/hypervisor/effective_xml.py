"""Read a live domain's XML: what it is made of, and whether its agent is there."""

from functools import partial
from typing import Any

from lxml import etree

from events.effective import Effective, EffectiveDisk, EffectiveNic
from services.hostd.hypervisor.domain_xml import AGENT_CHANNEL, disk_of_alias

_MIB = {"KiB": 1 / 1024, "MiB": 1, "GiB": 1024}


def agent_connected(xml: str) -> bool:
    """Tell from a live domain's XML whether the guest has opened the agent's channel."""
    tree = etree.fromstring(xml.encode())
    path = f"./devices/channel/target[@name='{AGENT_CHANNEL}']/@state"
    return bool(tree.xpath(path) == ["connected"])


def disks_of(xml: str) -> tuple[str, ...]:
    """Name the disks that we gave a domain, running or not; its CDs are not among them."""
    aliases = etree.fromstring(xml.encode()).xpath("./devices/disk/alias/@name")
    return tuple(name for alias in aliases if (name := disk_of_alias(alias)))


def effective_of(xml: str) -> Effective:
    """Say what the domain that *xml* describes is made of."""
    tree = etree.fromstring(xml.encode())
    text, attribute = partial(_text, tree), partial(_attribute, tree)
    memory = tree.find("memory")
    vcpus = text("vcpu")
    return Effective(
        machine=attribute("os/type", "machine"),
        cpu=text("cpu/model") or attribute("cpu", "mode") or "default",
        clock=attribute("clock", "offset"),
        vcpus=int(attribute("vcpu", "current") or vcpus),
        vcpus_max=int(vcpus),
        memory_mib=int(int(memory.text) * _MIB[memory.get("unit", "KiB")]),
        boot=_boot(tree),
        controllers=tuple(
            f"{one.get('type')}.{one.get('index')} {one.get('model', '')}".rstrip()
            for one in tree.iterfind("devices/controller")
        ),
        video=attribute("devices/video/model", "type"),
        graphics=_graphics(tree),
        rng=text("devices/rng/backend"),
        balloon=attribute("devices/memballoon", "model"),
        agent_channel=_agent_socket(tree),
        serial_log=attribute("devices/serial/log", "file"),
        disks=tuple(_disk(one) for one in tree.iterfind("devices/disk")),
        nics=tuple(
            EffectiveNic(
                network=_attribute(one, "source", "bridge"),
                mac=_attribute(one, "mac", "address"),
                model=_attribute(one, "model", "type"),
            )
            for one in tree.iterfind("devices/interface")
        ),
    )


def _boot(tree: Any) -> str:
    """The kernel's path; else the devices by their place in the order."""
    if kernel := _text(tree, "os/kernel"):
        return kernel
    devices = [one for one in tree.find("devices") if one.find("boot") is not None]
    devices.sort(key=lambda one: int(one.find("boot").get("order")))
    return ", ".join(_attribute(one, "target", "dev") for one in devices)


def _graphics(tree: Any) -> str:
    kind = _attribute(tree, "devices/graphics", "type")
    path = _attribute(tree, "devices/graphics/listen", "socket")
    return f"{kind} {path}".strip() or "none"


def _agent_socket(tree: Any) -> str:
    for channel in tree.iterfind("devices/channel"):
        if _attribute(channel, "target", "name") == AGENT_CHANNEL:
            return _attribute(channel, "source", "path")
    return ""


def _disk(one: Any) -> EffectiveDisk:
    target = _attribute(one, "target", "dev")
    return EffectiveDisk(
        name=disk_of_alias(_attribute(one, "alias", "name")) or one.get("device", target),
        target=target,
        path=_attribute(one, "source", "file"),
        format=_attribute(one, "driver", "type"),
        read_only=one.find("readonly") is not None,
    )


def _text(tree: Any, path: str) -> str:
    return str(tree.findtext(path) or "")


def _attribute(tree: Any, path: str, name: str) -> str:
    found = tree.find(path)
    return str(found.get(name, "")) if found is not None else ""
