"""Read disks and network cards as people write them on a command line."""

from collections.abc import Mapping
from typing import Any

from services.cli.core.units import memory_mib

FORMATS = ("qcow2", "raw")
DISK_FORM = "write NAME:SIZE or NAME:from=IMAGE[:SIZE], then :qcow2 or :raw and :STORAGE if you want"
NIC_FORM = "write BRIDGE or BRIDGE,MAC"
FROM = "from="


def disk(text: str) -> dict[str, Any]:
    """Read `data:10G:raw:fast` or `root:from=debian`; ValueError says what is possible."""
    name, *parts = (part.strip() for part in text.split(":"))
    found: dict[str, Any] = {"name": name}
    for part in parts:
        field, value = _disk_part(part, found)
        if field in found:
            raise ValueError(f"{text!r} tells {field} twice: {DISK_FORM}")
        found[field] = value
    if not name or not {"size_mib", "base"} & found.keys():
        raise ValueError(f"{text!r} is no disk: {DISK_FORM}")
    return found


def nic(text: str) -> dict[str, Any]:
    """Read `br0` or `br0,52:54:00:12:34:56`; ValueError says what is possible."""
    network, comma, mac = (part.strip() for part in text.partition(","))
    if not network or (comma and not mac):
        raise ValueError(f"{text!r} is no network card: {NIC_FORM}")
    return {"network": network, "mac": mac.lower()} if mac else {"network": network}


def _disk_part(part: str, before: Mapping[str, Any]) -> tuple[str, Any]:
    """Tell what *part* says after what was said *before*: the size or the image first, then all else."""
    if part.startswith(FROM):
        return "base", part.removeprefix(FROM)
    if part in FORMATS:
        return "format", part
    if len(before) == 1 or (before.keys() == {"name", "base"} and part[:1].isdigit()):
        return "size_mib", memory_mib(part)
    return "storage", part
