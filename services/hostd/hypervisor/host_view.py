"""Ask libvirt what its host can do. What does not change while it runs is asked once a connection."""

from typing import Any

import libvirt
from lxml import etree

from services.hostd.hypervisor.checks import Capabilities, HostView

KIB_PER_MIB = 1024
ARCH = "x86_64"
_ABSENT = {libvirt.VIR_ERR_NO_INTERFACE}
_NOT_TOLD = {libvirt.VIR_ERR_NO_SUPPORT, libvirt.VIR_ERR_NO_CONNECT}
"""libvirt was built without an interface driver: whether there is such a bridge QEMU's start will show."""


class Hosts:
    """Views of the host, one for each machine type."""

    def __init__(self, domain_type: str) -> None:
        self._domain_type = domain_type
        self._era = 0
        self._memory_mib = 0
        self._known: dict[str, Capabilities | None] = {}

    def view(self, connection: Any, era: int, machine: str) -> HostView:
        """Tell what the host can do with *machine*; what was learnt in another era is asked anew."""
        if era != self._era:
            self._known, self._memory_mib, self._era = {}, memory_mib(connection), era
        if machine not in self._known:
            self._known[machine] = self._ask(connection, machine)
        return HostView(
            memory_mib=self._memory_mib,
            capabilities=self._known[machine],
            machines=lambda: _machines(connection),
            is_bridge=lambda name: _is_bridge(connection, name),
            bridges=lambda: _bridges(connection),
        )

    def _ask(self, connection: Any, machine: str) -> Capabilities | None:
        try:
            xml = connection.getDomainCapabilities(None, ARCH, machine, self._domain_type, 0)
        except libvirt.libvirtError as err:
            if err.get_error_code() == libvirt.VIR_ERR_INVALID_ARG:
                return None
            raise
        return capabilities_of(xml)


def capabilities_of(xml: str) -> Capabilities:
    """Read libvirt's domain capabilities (libvirt, formatdomaincaps.html)."""
    tree = etree.fromstring(xml.encode())
    vcpu = tree.find("vcpu")
    models = tree.iterfind("cpu/mode[@name='custom']/model")
    graphics = tree.iterfind("devices/graphics[@supported='yes']/enum[@name='type']/value")
    return Capabilities(
        vcpus_max=int(vcpu.get("max")),
        cpu_models={str(model.text): model.get("usable") != "no" for model in models},
        graphics=frozenset(str(kind.text) for kind in graphics),
    )


def memory_mib(connection: Any) -> int:
    """Tell how much memory the host has."""
    # Not getInfo's: it was seen to give a fifth of what the kernel says.
    kib: int = connection.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS)["total"]
    return kib // KIB_PER_MIB


def _machines(connection: Any) -> list[str]:
    """Name the machine types that people use: those with a short name first."""
    tree = etree.fromstring(connection.getCapabilities().encode())
    found = tree.xpath(f"guest/arch[@name='{ARCH}']/machine")
    return sorted({str(one.text) for one in found}, key=lambda name: (len(name), name))


def _is_bridge(connection: Any, name: str) -> bool:
    # Asked of libvirt and not of /sys: the daemon may run in another network namespace than libvirt.
    try:
        xml = connection.interfaceLookupByName(name).XMLDesc()
    except libvirt.libvirtError as err:
        if err.get_error_code() in _NOT_TOLD:
            return True
        if err.get_error_code() in _ABSENT:
            return False
        raise
    return bool(etree.fromstring(xml.encode()).get("type") == "bridge")


def _bridges(connection: Any) -> list[str]:
    names = sorted(one.name() for one in connection.listAllInterfaces())
    return [name for name in names if _is_bridge(connection, name)]
