"""What a host daemon is told."""

import json
import re
from pathlib import Path
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BeforeValidator, Field
from pydantic_settings import NoDecode

from events.machine import LABEL_PATTERN, LABELS_MAX, HostLabel
from events.values import Name
from infra.runtime.settings import NatsSettings

HOST_NAME = r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$"


def _from_json(value: object) -> object:
    """Decode here, so that what is no JSON is refused like any other value: as a ValueError."""
    return json.loads(value) if isinstance(value, str) else value


def _from_list(value: object) -> object:
    """Read labels as an operator writes them, with commas; ValueError says what is possible."""
    if not isinstance(value, str):
        return value
    labels = sorted(label.strip() for label in value.split(",") if label.strip())
    for label in labels:
        if not re.fullmatch(LABEL_PATTERN, label):
            raise ValueError(
                f"{label!r} is no label: write NAME or NAME=VALUE, NAME in lower-case letters, digits and -"
            )
    names = [label.partition("=")[0] for label in labels]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{twice[0]!r} is there twice: a host carries a label once, with one value or none")
    return labels


Labels = Annotated[tuple[HostLabel, ...], NoDecode, BeforeValidator(_from_list), Field(max_length=LABELS_MAX)]
Storages = Annotated[dict[Name, Path], NoDecode, BeforeValidator(_from_json)]


class HostdSettings(NatsSettings):
    """Each is read from `ROOST_` and the name in capitals."""

    host_id: UUID
    host_name: Annotated[str, Field(pattern=HOST_NAME)]
    state_dir: Path
    """The journal lives here: it must survive a restart of the host."""
    image_dir: Path
    """The image storage, at the same path on every host."""
    libvirt_uri: str = "qemu:///system"
    domain_type: Literal["kvm", "qemu"] = "kvm"
    machine: Annotated[str, Field(pattern=r"^[a-z0-9._-]+$")] = "q35"
    console_dir: Path = Path("/var/log/libvirt/qemu")
    """Where the serial consoles of guests are kept: libvirt's log daemon writes them."""
    qemu_log_dir: Path = Path("/var/log/libvirt/qemu")
    """Where libvirt keeps QEMU's own logs, as this daemon sees it."""
    storages: Storages = Field(default={"default": Path("/var/lib/roost/disks")})
    """Folders for disks by the names that specs call them; as JSON. QEMU sees them at the same paths."""
    creates_at_once: Annotated[int, Field(ge=1, le=64)] = 4
    """Above 4 libvirtd's `max_workers` has to be raised: at least 16 above this."""
    labels: Labels = ()
    """What VMs can require of this host, or avoid: `rack=a,ssd`."""


class SimulatedSettings(NatsSettings):
    """What a process of simulated hosts is told; `nats_seed_file` names any seed in the folder of all."""

    state_dir: Path
    image_dir: Path
    labels: Labels = ()
    """Of each of them."""
