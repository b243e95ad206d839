"""The probe says what a machine lacks, and trusts no device that it has not seen work."""

from pathlib import Path

import pytest

from infra.lab.probe import BOOT_ID, KVM_DEVICE, kvm_works, missing
from infra.lab.run_folder import RUNS


def test_this_machine_lacks_nothing() -> None:
    assert missing() == ()


def test_each_missing_program_names_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    hints = {lack.what: lack.hint for lack in missing()}
    assert hints["no program virsh"] == "apt-get install libvirt-clients"
    assert hints["no program setpriv"] == "apt-get install util-linux"


def test_the_verdict_on_kvm_is_kept_until_the_next_boot(images: Path) -> None:
    verdict = kvm_works(images / "tiny")
    kept = RUNS / f".kvm-{BOOT_ID.read_text().strip()}"
    assert kept.exists() == KVM_DEVICE.exists()
    assert kvm_works(Path("/nonexistent")) == verdict
