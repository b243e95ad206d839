"""What the hypervisor says of a domain of ours, and what it tells of as it happens."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from events.facts import PauseCause, StopCause
from events.ids import Generation, VmId


class DomainState(StrEnum):
    """What the hypervisor says of a domain."""

    ACTIVE = "active"
    """QEMU runs, whatever the guest does: running, paused, shutting down."""
    OFF = "off"


@dataclass(frozen=True)
class Domain:
    """One of our domains, as the hypervisor shows it."""

    vm_id: VmId
    generation: Generation
    state: DomainState
    agent: bool = False
    """The guest's agent has opened its channel."""
    cause: StopCause = StopCause.LOST
    """Why it is off, where it is."""
    paused: PauseCause | None = None
    """Why it stands still, where it is active and does."""
    disks: tuple[str, ...] = ()
    """The names of its disks, as its definition has them."""
    saved: bool = False
    """It is off and has a saved state, which nothing of ours may discard."""
    defined: bool = True
    """False: a transient domain that is off, which only its last event has told us."""


@dataclass(frozen=True)
class Rebooted:
    """The guest was reset or has rebooted."""


@dataclass(frozen=True)
class IoError:
    """A disk of the guest met an I/O error; all three are QEMU's own words."""

    disk: str
    reason: str
    action: str


@dataclass(frozen=True)
class WatchdogFired:
    """The guest's watchdog device was not fed in time."""

    action: str


@dataclass(frozen=True)
class Panicked:
    """The guest's kernel said that it has panicked."""


@dataclass(frozen=True)
class BalloonChanged:
    """The guest has given memory back, or taken it."""

    memory_mib: int


@dataclass(frozen=True)
class DeviceChanged:
    """A device was plugged or unplugged."""

    device: str
    change: Literal["added", "removed", "removal_failed"]


Happening = Rebooted | IoError | WatchdogFired | Panicked | BalloonChanged | DeviceChanged
"""What the state of the domain does not show by itself."""
