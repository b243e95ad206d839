"""What this machine can do: run a lab at all, and run guests on its own processor."""

import json
import os
import select
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from infra.lab.failure import LabFailed
from infra.lab.guest import READY_MARKER
from infra.lab.programs import run_program, say
from infra.lab.run_folder import RUNS

KVM_DEVICE = Path("/dev/kvm")
# On a processor that works the guest is up within a second or two, nested ones included.
KVM_BOOT_TIMEOUT_S = 5.0
READ_BYTES = 4096
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
PACKAGE_OF = {
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "nsenter": "util-linux",
    "ip": "iproute2",
    "mount": "mount",
    "cpio": "cpio",
    "virsh": "libvirt-clients",
    "libvirtd": "libvirt-daemon libvirt-daemon-driver-qemu",
    "virtlogd": "libvirt-daemon",
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
}


@dataclass(frozen=True)
class Missing:
    """One thing that this machine lacks, and what to try."""

    what: str
    hint: str


def missing() -> tuple[Missing, ...]:
    """List what stands between this machine and a lab; empty when nothing does."""
    if os.geteuid() != 0:
        return (Missing("not running as root", "the same command as root (sudo)"),)
    lacks = [
        Missing(f"no program {program}", f"apt-get install {package}")
        for program, package in PACKAGE_OF.items()
        if shutil.which(program) is None
    ]
    if not lacks:
        try:
            run_program("unshare", "--mount", "--uts", "--net", "--pid", "--fork", "--mount-proc", "true")
        except LabFailed as err:
            lacks.append(Missing(f"no new namespaces ({err.why})", "a machine or a privileged container"))
    return tuple(lacks)


def kvm_works(image: Path) -> bool:
    """Say whether a guest really runs on /dev/kvm, by booting the tiny guest in folder *image* on it.

    The device's presence is no proof: nested, it may be there and hang every guest. The verdict is kept
    until the machine boots again. Where it is False use domain type `qemu`, and say so.
    """
    if not KVM_DEVICE.exists():
        return False
    verdict = RUNS / f".kvm-{BOOT_ID.read_text().strip()}"
    if verdict.exists():
        return verdict.read_text() == "works"
    works = boots_on_kvm(image)
    say(f"/dev/kvm {'boots the tiny guest' if works else 'is there but boots no guest'}")
    RUNS.mkdir(parents=True, exist_ok=True)
    verdict.write_text("works" if works else "useless")
    return works


def boots_on_kvm(image: Path) -> bool:
    """Boot the tiny guest on KVM and wait, within a bound, for its marker on the serial console."""
    parts = json.loads((image / "image.json").read_text())
    qemu = subprocess.Popen(
        (
            *("setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", "-accel", "kvm", "-machine", "pc"),
            *("-m", "128", "-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio"),
            *("-kernel", str(image / parts["kernel"]), "-initrd", str(image / parts["initrd"])),
            *("-append", parts["cmdline"], "-no-reboot"),
        ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with qemu:
        try:
            return read_until(qemu, READY_MARKER.encode(), timeout_s=KVM_BOOT_TIMEOUT_S)
        finally:
            qemu.kill()


def read_until(program: "subprocess.Popen[bytes]", marker: bytes, *, timeout_s: float) -> bool:
    """Read the program's stdout until *marker* comes; False when it ends or *timeout_s* pass without."""
    if program.stdout is None:
        raise AssertionError("a process started with a pipe has none")
    seen = b""
    deadline = time.monotonic() + timeout_s
    while marker not in seen:
        readable, _, _ = select.select([program.stdout], [], [], max(0.0, deadline - time.monotonic()))
        part = os.read(program.stdout.fileno(), READ_BYTES) if readable else b""
        if not part:
            return False
        seen += part
    return True


def main() -> int:
    """Say what is missing, one line each."""
    lacks = missing()
    for lack in lacks:
        print(f"{lack.what}; try: {lack.hint}")
    return 1 if lacks else 0


if __name__ == "__main__":
    sys.exit(main())
