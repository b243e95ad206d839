"""What a host daemon is told."""

from pathlib import Path
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from infra.runtime.settings import NatsSettings

HOST_NAME = r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$"


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
    creates_at_once: Annotated[int, Field(ge=1, le=64)] = 4


class SimulatedSettings(NatsSettings):
    """What a process of simulated hosts is told; `nats_seed_file` names any seed in the folder of all."""

    state_dir: Path
    image_dir: Path
