"""Find what a VM boots in the image storage: a folder of the image's name with an `image.json`."""

import json
from pathlib import Path

from events.values import Name
from services.hostd.hypervisor.port import HypervisorRefused, Image

MANIFEST = "image.json"


def find_image(storage: Path, name: Name) -> Image:
    """Read the manifest of *name*; raises HypervisorRefused naming what is missing and where."""
    folder = storage / name
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        image = Image(folder / manifest["kernel"], folder / manifest["initrd"], manifest["cmdline"])
        inside = all(
            path.resolve().parent == folder.resolve() and path.is_file()
            for path in (image.kernel, image.initrd)
        )
        if not image.cmdline.isprintable():
            raise ValueError("cmdline holds a control character, which no domain XML can carry")
    except FileNotFoundError as err:
        raise HypervisorRefused(f"no image {name!r} in {storage}: there is no {name}/{MANIFEST}") from err
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as err:
        raise HypervisorRefused(f"image {name!r}: {folder / MANIFEST} cannot be used: {err!r}") from err
    if not inside:
        reason = f"{image.kernel} and {image.initrd} must be files of the image's own folder"
        raise HypervisorRefused(f"image {name!r}: {reason}")
    return image
