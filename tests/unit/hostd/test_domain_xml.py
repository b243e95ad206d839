"""Domain XML is what libvirt's own schema allows, whatever the values hold."""

import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from events.desired import DesiredVm
from events.effective import FailureCode
from events.ids import Generation
from events.spec import IMAGE_DISK, BootDevice, Disk, DiskFormat, Graphics, Nic, RunOnce, VmSpec
from services.hostd.hypervisor.blueprint import Blueprint, Draughtsman, Platform, made_mac
from services.hostd.hypervisor.domain_xml import (
    AGENT_CHANNEL,
    NAMESPACE,
    disk_of_alias,
    domain_xml,
    generation_of,
)
from services.hostd.hypervisor.effective_xml import agent_connected, disks_of, effective_of
from services.hostd.hypervisor.port import HypervisorRefused, Image
from tests.support.builders import VM, an_entry

SCHEMA = etree.RelaxNG(etree.parse("/usr/share/libvirt/schemas/domain.rng"))
"""From Debian's libvirt0, which libvirt-python needs in any case."""
FOLDER = Path("/var/lib/libvirt/images/tiny")
KERNEL = Image(kernel=FOLDER / "vmlinuz", initrd=FOLDER / "initrd.img", cmdline="quiet")
WHOLE = Image(
    kernel=FOLDER / "vmlinuz", cmdline="quiet", disk=FOLDER / "disk.qcow2", cd=FOLDER / "installer.iso"
)
PLATFORM = Platform("qemu", "q35", Path("/var/log/libvirt/qemu"), storages={"default": Path("/srv/disks")})
HOSTILE = [
    "console=ttyS0 a=\"b\" c='d'",
    "]]></cmdline><devices><disk/></devices>",
    "a & b &amp; &lt;",
    "<!-- --><?pi?>",
    "日本 é",
    "",
]


def entry(once: RunOnce | None = None, **fields: Any) -> DesiredVm:
    desired = an_entry(generation=3)
    spec = VmSpec.model_validate(desired.spec.model_dump() | fields)
    return desired.model_copy(update={"spec": spec, "once": once})


def drawn(
    desired: DesiredVm, image: Image = KERNEL, platform: Platform = PLATFORM
) -> tuple[Blueprint, Draughtsman]:
    draughtsman = Draughtsman(desired, lambda _: image, platform)
    return draughtsman.draw(), draughtsman


def xml(desired: DesiredVm | None = None, image: Image = KERNEL, platform: Platform = PLATFORM) -> str:
    return domain_xml(drawn(desired or entry(), image, platform)[0], platform)


def shape(tree: Any) -> Any:
    """What a document is made of, without its values."""
    return tree.tag, sorted(tree.attrib), [shape(child) for child in tree]


@pytest.mark.parametrize("cmdline", HOSTILE)
def test_any_value_stays_in_its_element_and_libvirt_allows_it(cmdline: str) -> None:
    image = Image(kernel=KERNEL.kernel, initrd=KERNEL.initrd, cmdline=cmdline)
    tree = etree.fromstring(xml(image=image).encode())
    assert (tree.findtext("os/cmdline") or "") == cmdline
    assert shape(tree) == shape(etree.fromstring(xml().encode()))
    assert SCHEMA.validate(tree), SCHEMA.error_log


def test_a_hostile_path_stays_in_its_element() -> None:
    image = Image(kernel=FOLDER / "a</kernel><kernel>b", initrd=KERNEL.initrd, cmdline="quiet")
    tree = etree.fromstring(xml(image=image).encode())
    assert tree.findtext("os/kernel") == "/var/lib/libvirt/images/tiny/a</kernel><kernel>b"


def test_the_generation_is_read_back() -> None:
    (metadata,) = etree.fromstring(xml().encode()).iter(f"{{{NAMESPACE}}}vm")
    assert generation_of(etree.tostring(metadata, encoding="unicode")) == Generation(3)
    assert (metadata.get("persistent"), metadata.get("once")) == ("yes", "no")


@pytest.mark.parametrize("metadata", ["<vm/>", "<vm generation='x'/>"])
def test_a_damaged_generation_is_an_error(metadata: str) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        generation_of(metadata)


@pytest.mark.parametrize(("state", "connected"), [("connected", True), ("disconnected", False)])
def test_whether_the_agent_is_there_is_read_from_the_live_xml(state: str, connected: bool) -> None:
    live = xml().replace(f'name="{AGENT_CHANNEL}"', f'name="{AGENT_CHANNEL}" state="{state}"')
    assert agent_connected(live) is connected
    assert str(VM) in live


def test_a_disks_alias_tells_its_name_and_others_none() -> None:
    (alias,) = etree.fromstring(xml(entry(disks=[{"name": "data", "size_mib": 1}])).encode()).iter("alias")
    assert disk_of_alias(alias.get("name")) == "data"
    assert disk_of_alias("virtio-disk0") == ""


def test_the_disks_of_a_definition_are_named_without_its_cds() -> None:
    made = xml(entry(disks=[{"name": "data", "size_mib": 1}]), WHOLE)
    assert made.count("<disk ") == 3
    assert disks_of(made) == (IMAGE_DISK, "data")


def test_a_made_address_is_the_same_each_time_and_unlike_all_others() -> None:
    made = {made_mac(VM, number) for number in range(8)}
    assert len(made) == 8
    assert made == {made_mac(VM, number) for number in range(8)}
    for mac in made:
        assert Nic(network="br0", mac=mac).mac == mac
        assert mac.startswith("02:")


def test_an_image_brings_its_disk_its_cd_and_its_kernel() -> None:
    shown = effective_of(xml(image=WHOLE))
    assert shown.boot == str(WHOLE.kernel)
    assert [(disk.name, disk.path, disk.read_only) for disk in shown.disks] == [
        ("image", f"/srv/disks/{VM}/image.qcow2", False),
        ("cdrom", str(WHOLE.cd), True),
    ]


def test_run_once_boots_what_it_says_and_marks_the_domain() -> None:
    once = RunOnce(boot=(BootDevice.CD, BootDevice.DISK))
    text = xml(entry(once=once), WHOLE)
    assert effective_of(text).boot == "sda, vda"
    assert etree.fromstring(text.encode()).find("os/kernel") is None
    assert 'once="yes"' in text
    other = RunOnce(kernel="rescue", cmdline="single")
    assert effective_of(xml(entry(once=other), WHOLE)).boot == str(WHOLE.kernel)
    assert etree.fromstring(xml(entry(once=other), WHOLE).encode()).findtext("os/cmdline") == "single"


@pytest.mark.parametrize(
    ("once", "image"),
    [
        (RunOnce(boot=(BootDevice.CD,)), KERNEL),
        (RunOnce(boot=(BootDevice.NETWORK,)), KERNEL),
        (RunOnce(cmdline="single"), Image(disk=FOLDER / "disk.qcow2")),
        (RunOnce(cd="tiny"), KERNEL),
        (RunOnce(kernel="tiny"), Image(disk=FOLDER / "disk.qcow2")),
    ],
)
def test_a_boot_from_what_is_not_there_is_refused(once: RunOnce, image: Image) -> None:
    failures = drawn(entry(once=once), image)[1].failures
    assert [failure.code for failure in failures] == [FailureCode.BOOT_SOURCE]


def test_everything_that_is_missing_is_said_at_once() -> None:
    def none(name: str) -> Image:
        raise HypervisorRefused(f"no image {name!r}")

    disks = [
        {"name": "a", "base": "gone"},
        {"name": "b", "base": "gone"},
        {"name": "c", "size_mib": 1, "storage": "attic"},
    ]
    desired = entry(once=RunOnce(cd="none", kernel="nil"), disks=disks)
    draughtsman = Draughtsman(desired, none, PLATFORM)
    draughtsman.draw()
    said = {failure.message: failure.code for failure in draughtsman.failures}
    assert len(said) == len(draughtsman.failures) == 5
    assert all(said[f"no image {name!r}"] is FailureCode.IMAGE for name in ("tiny", "none", "nil", "gone"))
    (storage,) = (message for message, code in said.items() if code is FailureCode.STORAGE)
    assert "it has: default" in storage


names = st.from_regex(r"\A[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?\Z")
tokens = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._+-]{0,20}\Z")
machines = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,20}\Z")
"""Not all that a spec takes: no machine has a plus in its name, and one that is not there is refused."""
printable = st.text(st.sampled_from(string.printable[:95]), max_size=60)
disks = st.builds(
    Disk,
    name=names,
    size_mib=st.integers(1, 1000),
    base=st.none() | names,
    format=st.sampled_from(DiskFormat),
    storage=st.just("default"),
)
macs = st.from_regex(r"\A[0-9a-f][02468ace](:[0-9a-f]{2}){5}\Z")
nics = st.builds(Nic, network=st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,14}\Z"), mac=st.none() | macs)
specs = st.builds(
    VmSpec,
    name=names,
    vcpus=st.integers(1, 8),
    memory_mib=st.integers(32, 100_000),
    image=names,
    vcpus_max=st.none() | st.integers(8, 64),
    machine=st.none() | machines,
    cpu_model=st.none() | tokens,
    disks=st.lists(
        disks.filter(lambda disk: disk.name != "image"), max_size=16, unique_by=lambda disk: disk.name
    ).map(tuple),
    nics=st.lists(nics, max_size=8).map(tuple),
    graphics=st.sampled_from(Graphics),
    persistent=st.booleans(),
)
onces = st.none() | st.builds(
    RunOnce,
    boot=st.lists(st.sampled_from(BootDevice), max_size=3, unique=True).map(tuple),
    cd=st.none() | names,
    kernel=st.none() | names,
    cmdline=st.none() | printable,
)
images = st.builds(
    Image, kernel=st.none() | st.just(FOLDER / "k"), cmdline=printable, disk=st.just(FOLDER / "d")
)


@settings(deadline=None, max_examples=200)
@given(spec=specs, once=onces, image=images, kind=st.sampled_from(["kvm", "qemu"]))
def test_every_spec_makes_a_domain_that_libvirt_allows_and_that_says_what_was_asked(
    spec: VmSpec, once: RunOnce | None, image: Image, kind: str
) -> None:
    platform = Platform(kind, "pc", Path("/console"), storages=PLATFORM.storages)
    desired = entry().model_copy(update={"spec": spec, "once": once})
    text = xml(desired, image, platform)
    tree = etree.fromstring(text.encode())
    assert SCHEMA.validate(tree), SCHEMA.error_log
    shown = effective_of(text)
    assert shown.machine == (spec.machine or "pc")
    assert (shown.vcpus, shown.vcpus_max) == (spec.vcpus, spec.vcpus_max or spec.vcpus)
    assert shown.memory_mib == spec.memory_mib
    assert [disk.name for disk in shown.disks if not disk.read_only] == [
        "image",
        *(disk.name for disk in spec.disks),
    ]
    assert [nic.network for nic in shown.nics] == [nic.network for nic in spec.nics]
    if tree.find("os/kernel") is not None:
        cmdline = once.cmdline if once is not None and once.cmdline is not None else image.cmdline
        assert (tree.findtext("os/cmdline") or "") == cmdline
