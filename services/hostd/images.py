"""Find what a VM boots in the image storage: a folder of the image's name with an `image.json`.

The manifest names files of its own folder: `kernel` (with `initrd` and `cmdline`), `disk` (with
`disk_format`, `qcow2` where it says nothing) and `cd`; at least one of the three.
"""

import json
from pathlib import Path
from typing import Any

from events.spec import DiskFormat
from events.values import Name
from services.hostd.hypervisor.port import HypervisorRefused, Image

MANIFEST = "image.json"
SOURCES = ("kernel", "disk", "cd")


def find_image(storage: Path, name: Name) -> Image:
    """Read the manifest of *name*; raises HypervisorRefused naming what is missing and where."""
    folder = storage / name
    try:
        return _read(folder, json.loads((folder / MANIFEST).read_text()))
    except FileNotFoundError as err:
        raise HypervisorRefused(f"no image {name!r} in {storage}: there is no {name}/{MANIFEST}") from err
    except (OSError, ValueError, TypeError, AttributeError) as err:
        raise HypervisorRefused(f"image {name!r}: {folder / MANIFEST} cannot be used: {err}") from err


def _read(folder: Path, manifest: dict[str, Any]) -> Image:
    """Raises ValueError, TypeError or AttributeError where the manifest is not what it should be."""
    if not any(manifest.get(source) for source in SOURCES):
        raise ValueError("it names neither a kernel nor a disk nor a cd")
    if not manifest.get("kernel") and (manifest.get("initrd") or manifest.get("cmdline")):
        raise ValueError("initrd and cmdline are a kernel's, and it names none")
    cmdline = manifest.get("cmdline", "")
    if not cmdline.isprintable():
        raise ValueError("cmdline holds a control character, which no domain XML can carry")
    return Image(
        kernel=_file(folder, manifest, "kernel"),
        initrd=_file(folder, manifest, "initrd"),
        cmdline=cmdline,
        disk=_file(folder, manifest, "disk"),
        disk_format=DiskFormat(manifest.get("disk_format", DiskFormat.QCOW2)),
        cd=_file(folder, manifest, "cd"),
    )


def _file(folder: Path, manifest: dict[str, Any], key: str) -> Path | None:
    if key not in manifest:
        return None
    path: Path = folder / manifest[key]
    if not str(path).isprintable():
        raise ValueError(f"{key} holds a control character, which no domain XML can carry")
    if path.resolve().parent != folder.resolve() or not path.is_file():
        raise ValueError(f"{key} must be a file of the image's own folder, and {path} is none")
    return path
