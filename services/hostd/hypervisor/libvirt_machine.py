"""Read from libvirt what the host is made of, and which domains on it are not ours. Blocks: for a thread."""

import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import UUID

import libvirt
from lxml import etree

from events.machine import FEATURES_MAX, FOREIGN_MAX, ForeignDomain, MachineFacts, Processor
from events.values import Resources, Versions
from services.hostd.hypervisor.domain_xml import NAMESPACE
from services.hostd.hypervisor.port import Machine

LABEL_MAX = 253
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

# virDomainState (libvirt-domain.h), in virsh's words.
_STATES: Mapping[int, str] = {
    libvirt.VIR_DOMAIN_NOSTATE: "no state",
    libvirt.VIR_DOMAIN_RUNNING: "running",
    libvirt.VIR_DOMAIN_BLOCKED: "idle",
    libvirt.VIR_DOMAIN_PAUSED: "paused",
    libvirt.VIR_DOMAIN_SHUTDOWN: "in shutdown",
    libvirt.VIR_DOMAIN_SHUTOFF: "shut off",
    libvirt.VIR_DOMAIN_CRASHED: "crashed",
    libvirt.VIR_DOMAIN_PMSUSPENDED: "pmsuspended",
}
_DOWN = {"shut off", "crashed"}
_NOT_OURS = {libvirt.VIR_ERR_NO_DOMAIN_METADATA, libvirt.VIR_ERR_NO_DOMAIN}


def machine(connection: Any) -> Machine:
    """Describe the host; raises libvirtError."""
    # Not getInfo's memory: it was seen to give a fifth of what the kernel says.
    memory = connection.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS)
    foreign = _foreign(connection)
    return Machine(
        cores=connection.getInfo()[2],
        memory_mib=memory["total"] // 1024,
        versions=Versions(
            roost=version("roost"),
            hypervisor=connection.getType(),
            libvirt=_dotted(connection.getLibVersion()),
            qemu=_dotted(connection.getVersion()),
            kernel=platform.release(),
        ),
        boot_id=BOOT_ID.read_text().strip(),
        facts=MachineFacts(
            processor=processor(connection.getCapabilities()),
            foreign=tuple(foreign[:FOREIGN_MAX]),
            foreign_total=len(foreign),
            foreign_takes=Resources(
                vcpus=sum(one.vcpus for one in foreign if one.state not in _DOWN),
                memory_mib=sum(one.memory_mib for one in foreign if one.state not in _DOWN),
            ),
        ),
    )


def processor(capabilities: str) -> Processor | None:
    """Read the processors from libvirt's capabilities; None where it says nothing of them."""
    found = etree.fromstring(capabilities.encode()).find("host/cpu")
    if found is None:
        return None
    shape = found.find("topology")
    shape = {} if shape is None else shape.attrib
    features = sorted(one.get("name", "") for one in found.findall("feature"))
    return Processor(
        arch=found.findtext("arch", ""),
        model=found.findtext("model", ""),
        vendor=found.findtext("vendor", ""),
        features=tuple(features[:FEATURES_MAX]),
        sockets=int(shape.get("sockets", 0)),
        cores=int(shape.get("cores", 0)) * int(shape.get("dies", 1)),
        threads=int(shape.get("threads", 0)),
    )


def _foreign(connection: Any) -> list[ForeignDomain]:
    """Describe every domain that is not ours, by name."""
    described = (_described(domain) for domain in connection.listAllDomains())
    return sorted((one for one in described if one is not None), key=lambda one: (one.name, one.uuid))


def _described(domain: Any) -> ForeignDomain | None:
    """Describe a domain of someone else; None where it is ours, or gone between two calls."""
    try:
        domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, NAMESPACE)
        return None
    except libvirt.libvirtError as err:
        if err.get_error_code() not in _NOT_OURS:
            raise
    try:
        state, memory_kib, _, vcpus, _ = domain.info()
    except libvirt.libvirtError as err:
        if err.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise
    return ForeignDomain(
        uuid=str(UUID(bytes=domain.UUID())),
        name=domain.name()[:LABEL_MAX],
        state=_STATES.get(state, str(state)),
        vcpus=vcpus,
        memory_mib=memory_kib // 1024,
    )


def _dotted(number: int) -> str:
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"
