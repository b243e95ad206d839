"""An image is used only if its manifest names files of its own folder."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.hostd.hypervisor.port import HypervisorRefused, Image
from services.hostd.images import find_image

GOOD = {"kernel": "vmlinuz", "initrd": "initrd.img", "cmdline": "quiet"}


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    for name in ("tiny/vmlinuz", "tiny/initrd.img", "tiny/root.raw", "tiny/boot.iso", "other/vmlinuz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "tiny" / "link").symlink_to(tmp_path / "other" / "vmlinuz")
    return tmp_path


def found(storage: Path, manifest: dict[str, Any]) -> Image:
    (storage / "tiny" / "image.json").write_text(json.dumps(manifest))
    return find_image(storage, "tiny")


def test_an_image_may_be_a_kernel_a_disk_a_cd_or_all_of_them(storage: Path) -> None:
    tiny = storage / "tiny"
    kernel = Image(kernel=tiny / "vmlinuz", initrd=tiny / "initrd.img", cmdline="quiet")
    assert found(storage, GOOD) == kernel
    assert found(storage, {"kernel": "vmlinuz"}) == Image(kernel=tiny / "vmlinuz")
    assert found(storage, {"disk": "root.raw"}) == Image(disk=tiny / "root.raw")
    assert found(storage, {"cd": "boot.iso"}) == Image(cd=tiny / "boot.iso")
    every = GOOD | {"disk": "root.raw", "disk_format": "raw", "cd": "boot.iso"}
    assert found(storage, every) == replace(
        kernel, disk=tiny / "root.raw", disk_format="raw", cd=tiny / "boot.iso"
    )


def test_a_missing_image_is_named(storage: Path) -> None:
    with pytest.raises(HypervisorRefused, match=r"no image 'none' in .*: there is no none/image.json"):
        find_image(storage, "none")


@pytest.mark.parametrize(
    "manifest",
    [
        "",
        "[]",
        "{}",
        "\ud800",
        {"initrd": "initrd.img", "disk": "root.raw"},
        {"cmdline": "quiet", "cd": "boot.iso"},
        {"disk": "root.raw", "disk_format": "vmdk"},
        {"disk": "../other/vmlinuz"},
        {"cd": "link"},
        GOOD | {"kernel": 5},
        GOOD | {"kernel": "missing"},
        GOOD | {"kernel": ""},
        GOOD | {"kernel": "."},
        GOOD | {"kernel": "../other/vmlinuz"},
        GOOD | {"kernel": "/etc/hostname"},
        GOOD | {"kernel": "link"},
        GOOD | {"kernel": "nul\0"},
        GOOD | {"initrd": "../../etc/shadow"},
        GOOD | {"cmdline": ["quiet"]},
        GOOD | {"cmdline": "control \u0001"},
        GOOD | {"cmdline": "two\nlines"},
    ],
    ids=range(21),
)
def test_a_manifest_that_cannot_be_used_is_refused_with_the_images_name(
    storage: Path, manifest: str | dict[str, Any]
) -> None:
    text = manifest if isinstance(manifest, str) else json.dumps(manifest)
    (storage / "tiny" / "image.json").write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(HypervisorRefused, match="image 'tiny'"):
        find_image(storage, "tiny")
