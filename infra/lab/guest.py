"""The tiny guest: a kernel and an initramfs with busybox and the real QEMU guest agent."""

import argparse
import gzip
import hashlib
import json
import re
import shutil
import sys
import tempfile
from pathlib import Path

from infra.lab.failure import LabFailed
from infra.lab.guest_packages import Package, candidates, dependencies, library_packages, unpack
from infra.lab.locks import locked
from infra.lab.programs import run_program, say

DEFAULT_CACHE = Path(".cache/guest")
READY_MARKER = "roost-guest ready"
AGENT_CHANNEL = "org.qemu.guest_agent.0"
KERNEL_META = "linux-image-cloud-amd64"
INIT = Path(__file__).with_name("guest_init.sh")
# Measured under TCG: the last four words save 0.35 s of 2.3 s from QEMU's start to the marker. An
# uncompressed initramfs or the bare vmlinux (PVH) win less than the noise.
CMDLINE = "console=ttyS0 quiet panic=-1 tsc=reliable no_timer_check cryptomgr.notests random.trust_cpu=on"
MODULES = (
    *("drivers/virtio/virtio_ring", "drivers/virtio/virtio", "drivers/virtio/virtio_pci_modern_dev"),
    *("drivers/virtio/virtio_pci_legacy_dev", "drivers/virtio/virtio_pci", "drivers/char/virtio_console"),
    *("drivers/block/virtio_blk", "net/core/failover", "drivers/net/net_failover", "drivers/net/virtio_net"),
    *("drivers/virtio/virtio_balloon", "drivers/char/hw_random/virtio-rng"),
    *("drivers/input/evdev", "drivers/acpi/button"),
    *("drivers/misc/pvpanic/pvpanic", "drivers/misc/pvpanic/pvpanic-mmio"),
)
FOLDERS = (
    "bin",
    "sbin",
    "dev",
    "proc",
    "sys",
    "run",
    "tmp",
    "var",
    "etc/acpi/PWRF",
    "lib/modules",
    "usr/sbin",
)
# The agent runs `/sbin/shutdown -h -P +0`, or -r or -H for -P; nothing is to be stopped first here.
POWER_OFF = "#!/bin/sh\nsync\nexec busybox poweroff -f\n"
SCRIPTS = {
    "sbin/shutdown": (
        '#!/bin/sh\nsync\ncase " $* " in *" -r "*) exec busybox reboot -f ;; esac\nexec busybox poweroff -f\n'
    ),
    "sbin/reboot": "#!/bin/sh\nsync\nexec busybox reboot -f\n",
    "sbin/poweroff": POWER_OFF,
    "sbin/halt": POWER_OFF,
    "etc/acpi/PWRF/00000080": POWER_OFF,
}
OS_RELEASE = 'ID=roost-tiny\nNAME="roost tiny guest"\nPRETTY_NAME="roost tiny guest"\nVERSION_ID=1\n'
KEY_CHARS = 16
# How long one caller waits for another's build: a slow download of 28 MB.
BUILD_TIMEOUT_S = 600.0


def build_guest(*, out: Path, cache: Path = DEFAULT_CACHE) -> Path:
    """Put the tiny guest into *out*/images/tiny and return that folder.

    The folder holds vmlinuz, initrd.img and image.json ({"kernel", "initrd", "cmdline"}). What was built
    once is copied from *cache*, without network. Safe to call from several processes at a time.
    """
    with locked(cache, timeout_s=BUILD_TIMEOUT_S):
        built = cached_build(cache)
    image = out / "images" / "tiny"
    publish(built, image)
    return image


def cached_build(cache: Path) -> Path:
    """Return the build for what apt and our recipe say today; the caller holds the lock."""
    builds = cache / "builds"
    recipe = recipe_key()
    try:
        packages = candidates(kernel_package(), "busybox-static", "qemu-guest-agent")
    except LabFailed as err:
        newest = max(builds.glob(f"{recipe}-*"), key=lambda path: path.stat().st_mtime_ns, default=None)
        if newest is None:
            raise
        say(f"{err}; using the guest built earlier ({newest.name})")
        return newest
    built = builds / f"{recipe}-{digest(*(f'{package.name}={package.version}' for package in packages))}"
    if not built.is_dir():
        say(f"building the tiny guest {built.name} from {', '.join(p.name for p in packages)}")
        builds.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".half-") as half:
            build(packages, cache=cache, work=Path(half))
            (Path(half) / "image").rename(built)
    return built


def kernel_package() -> str:
    """Name the package with the kernel itself, which the meta package depends on."""
    kernels = [name for name in dependencies(KERNEL_META) if name.startswith("linux-image-")]
    if not kernels:
        raise LabFailed(
            what=f"find the kernel of {KERNEL_META}", why="apt's lists do not name it", hint="apt-get update"
        )
    return kernels[0]


def build(packages: tuple[Package, ...], *, cache: Path, work: Path) -> None:
    """Build *work*/image from the kernel, busybox and agent packages, in that order."""
    kernel, busybox, agent = (unpack(package, cache=cache) for package in packages)
    root = work / "root"
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    copy_programs(root, busybox=busybox, agent=agent)
    copy_libraries(root, cache=cache)
    modules = next((kernel / "lib/modules").iterdir()) / "kernel"
    for name in MODULES:
        shutil.copy(modules / f"{name}.ko", root / "lib/modules")
    image = work / "image"
    image.mkdir()
    shutil.copy(next((kernel / "boot").glob("vmlinuz-*")), image / "vmlinuz")
    (image / "initrd.img").write_bytes(gzip.compress(archive(root), compresslevel=9, mtime=0))
    (image / "image.json").write_text(
        json.dumps({"kernel": "vmlinuz", "initrd": "initrd.img", "cmdline": CMDLINE}, indent=2) + "\n"
    )


def copy_programs(root: Path, *, busybox: Path, agent: Path) -> None:
    """Copy the two programs and write the scripts."""
    shutil.copy(busybox / "bin/busybox", root / "bin/busybox")
    shutil.copy(agent / "usr/sbin/qemu-ga", root / "usr/sbin/qemu-ga")
    for applet in run_program(str(root / "bin/busybox"), "--list").split():
        if not (root / "bin" / applet).exists() and f"sbin/{applet}" not in SCRIPTS:
            (root / "bin" / applet).symlink_to("busybox")
    (root / "etc/os-release").write_text(OS_RELEASE)
    shutil.copy(INIT, root / "init")
    (root / "init").chmod(0o755)
    for name, text in SCRIPTS.items():
        (root / name).write_text(text)
        (root / name).chmod(0o755)


def copy_libraries(root: Path, *, cache: Path) -> None:
    """Copy the libraries that ldd names for the agent; download those that this machine lacks."""
    program = str(root / "usr/sbin/qemu-ga")
    listing = run_program("ldd", program)
    if "not found" in listing:
        folders = [unpack(p, cache=cache) for p in candidates(*library_packages("qemu-guest-agent"))]
        tails = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")
        search = ":".join(str((folder / tail).resolve()) for folder in folders for tail in tails)
        listing = run_program("ldd", program, env={"LD_LIBRARY_PATH": search})
    absent = re.findall(r"(\S+) => not found", listing)
    if absent:
        raise LabFailed(
            what=f"find the libraries {', '.join(absent)} of qemu-ga",
            why="neither this machine nor the packages it depends on have them",
            hint="apt-get install qemu-guest-agent",
        )
    for name, found in re.findall(r"^\s*(\S+)(?: => (\S+))? \(0x", listing, flags=re.M):
        copy_library(root, name=name, found=found)


def copy_library(root: Path, *, name: str, found: str) -> None:
    """Copy one library: the loader to the path that it is named by, any other to the loader's folder."""
    if name.startswith("/"):
        target = root / name.lstrip("/")
    elif found:
        target = root / "lib/x86_64-linux-gnu" / name
    else:
        return  # linux-vdso: the kernel maps it, there is no file.
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(Path(found or name).resolve(), target)


def archive(root: Path) -> bytes:
    """Pack *root* as the kernel wants an initramfs, the same bytes for the same files."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "initramfs.cpio"
        script = 'cd "$1" && find . | LC_ALL=C sort | cpio --quiet --reproducible -o -H newc -R 0:0 -O "$2"'
        run_program("sh", "-c", script, "sh", str(root), str(target))
        return target.read_bytes()


def publish(built: Path, image: Path) -> None:
    """Copy *built* to *image*, so that a reader never sees a half-written file."""
    image.mkdir(parents=True, exist_ok=True)
    # image.json last: who reads it finds the files that it names.
    for name in ("vmlinuz", "initrd.img", "image.json"):
        target = image / name
        if target.exists() and target.read_bytes() == (built / name).read_bytes():
            continue
        with tempfile.NamedTemporaryFile(dir=image, prefix=f".{name}-", delete=False) as half:
            half.write((built / name).read_bytes())
        Path(half.name).chmod(0o644)
        Path(half.name).rename(target)


def recipe_key() -> str:
    """Name what we put in: this recipe and the init script."""
    return digest(Path(__file__).read_text(), INIT.read_text())


def digest(*parts: str) -> str:
    """Hash *parts* to a short name."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:KEY_CHARS]


def main() -> int:
    """Build the guest from the shell."""
    parser = argparse.ArgumentParser(prog="python -m infra.lab.guest", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the images go to OUT/images/tiny")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help=f"default: {DEFAULT_CACHE}")
    options = parser.parse_args()
    try:
        print(build_guest(out=options.out, cache=options.cache))
    except LabFailed as err:
        say(str(err))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
