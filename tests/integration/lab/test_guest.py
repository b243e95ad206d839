"""The guest is built once, however many ask for it at a time."""

import subprocess
import sys
from pathlib import Path

import pytest

from infra.lab.guest import build_guest
from tests.integration.lab.tiny import GUEST_CACHE

BUILD_TIMEOUT_S = 100.0
BUILDERS = 3


def copy_packages(cache: Path) -> None:
    """Lend *cache* the packages downloaded before, so that the test needs no network."""
    cache.mkdir()
    (cache / "packages").symlink_to(GUEST_CACHE / "packages")


def test_builders_at_the_same_time_make_one_build(tmp_path: Path, images: Path) -> None:
    assert (images / "tiny" / "image.json").exists()
    cache, out = tmp_path / "cache", tmp_path / "out"
    copy_packages(cache)
    builders = [
        subprocess.Popen(
            [sys.executable, "-m", "infra.lab.guest", "--out", str(out), "--cache", str(cache)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[3],
        )
        for _ in range(BUILDERS)
    ]
    said = [builder.communicate(timeout=BUILD_TIMEOUT_S)[1] for builder in builders]

    assert [builder.returncode for builder in builders] == [0] * BUILDERS
    assert sum("building the tiny guest" in text for text in said) == 1
    assert len(list((cache / "builds").iterdir())) == 1
    assert sorted(path.name for path in (out / "images" / "tiny").iterdir()) == [
        "image.json",
        "initrd.img",
        "vmlinuz",
    ]


def test_a_built_guest_comes_from_the_cache(tmp_path: Path, images: Path) -> None:
    again = build_guest(out=tmp_path, cache=GUEST_CACHE)
    for path in again.iterdir():
        assert path.read_bytes() == (images / "tiny" / path.name).read_bytes()


def test_a_built_guest_needs_neither_network_nor_apts_lists(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_lists = tmp_path / "apt.conf"
    without_lists.write_text(f'Dir::State::lists "{tmp_path}/none";\nDir::Cache "{tmp_path}/none";\n')
    monkeypatch.setenv("APT_CONFIG", str(without_lists))
    again = build_guest(out=tmp_path, cache=GUEST_CACHE)
    assert (again / "initrd.img").read_bytes() == (images / "tiny" / "initrd.img").read_bytes()
