"""Domain XML is what libvirt's own schema allows, whatever the values hold."""

from pathlib import Path

import pytest
from lxml import etree

from events.ids import Generation
from services.hostd.hypervisor.domain_xml import (
    AGENT_CHANNEL,
    NAMESPACE,
    Platform,
    agent_connected,
    domain_xml,
    generation_of,
)
from services.hostd.hypervisor.port import Image
from tests.support.builders import VM, an_entry

SCHEMA = Path("/usr/share/libvirt/schemas/domain.rng")
"""From Debian's libvirt0, which libvirt-python needs in any case."""
PLATFORM = Platform("qemu", "q35", Path("/var/log/libvirt/qemu"))
HOSTILE = [
    "console=ttyS0 a=\"b\" c='d'",
    "]]></cmdline><devices><disk/></devices>",
    "a & b &amp; &lt;",
    "<!-- --><?pi?>",
    "日本 é",
    "",
]


def xml(cmdline: str = "quiet", kernel: str = "vmlinuz") -> str:
    folder = Path("/var/lib/libvirt/images/tiny")
    return domain_xml(
        an_entry(generation=3), Image(folder / kernel, folder / "initrd.img", cmdline), PLATFORM
    )


@pytest.mark.parametrize("cmdline", HOSTILE)
def test_any_value_stays_in_its_element_and_libvirt_allows_it(cmdline: str) -> None:
    tree = etree.fromstring(xml(cmdline).encode())
    assert (tree.findtext("os/cmdline") or "") == cmdline
    assert [child.tag for child in tree] == [child.tag for child in etree.fromstring(xml().encode())]
    schema = etree.RelaxNG(etree.parse(str(SCHEMA)))
    assert schema.validate(tree), schema.error_log


def test_a_hostile_path_stays_in_its_element() -> None:
    tree = etree.fromstring(xml(kernel="a</kernel><kernel>b").encode())
    assert tree.findtext("os/kernel") == "/var/lib/libvirt/images/tiny/a</kernel><kernel>b"


def test_the_generation_is_read_back() -> None:
    (metadata,) = etree.fromstring(xml().encode()).iter(f"{{{NAMESPACE}}}vm")
    assert generation_of(etree.tostring(metadata, encoding="unicode")) == Generation(3)


@pytest.mark.parametrize("metadata", ["<vm/>", "<vm generation='x'/>"])
def test_a_damaged_generation_is_an_error(metadata: str) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        generation_of(metadata)


@pytest.mark.parametrize(("state", "connected"), [("connected", True), ("disconnected", False)])
def test_whether_the_agent_is_there_is_read_from_the_live_xml(state: str, connected: bool) -> None:
    live = xml().replace(f'name="{AGENT_CHANNEL}"', f'name="{AGENT_CHANNEL}" state="{state}"')
    assert agent_connected(live) is connected
    assert str(VM) in live
