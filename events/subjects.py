"""Name every subject. A guard is always one of these literal subjects, never a wildcard."""

from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Literal
from uuid import UUID

from events.ids import CommandId, HostId, VmId

CTL = "ctl"
DESIRED = "desired"

VM_NAME = "vm-name"
"""The kind of claim that keeps VM names unique."""

SUBJECTS_MAX = 10_000
"""Subjects that stay taken apart: one is met several times in a row, by several who read the same message."""

EVT_ALL = "evt.>"
CMD_ALL = "cmd.>"
LEASE_ALL = "lease.>"
HEARTBEATS = "hb.*"
STATISTICS = "stat.*"
LIVE = "live."
"""The core subject under which a stored event is republished is this plus the event's own subject."""


def vm_ctl(vm_id: VmId) -> str:
    """Name the control plane's word on a VM."""
    return f"evt.vm.{vm_id}.{CTL}"


def vm_fact(vm_id: VmId, host_id: HostId) -> str:
    """Name one host's word on a VM."""
    return f"evt.vm.{vm_id}.{host_id}"


def host_ctl(host_id: HostId) -> str:
    """Name the control plane's word on a host: capacity and reservations."""
    return f"evt.host.{host_id}.{CTL}"


def host_desired(host_id: HostId) -> str:
    """Name what a host shall run; the only subject of the log that hosts read."""
    return f"evt.host.{host_id}.{DESIRED}"


def host_fact(host_id: HostId) -> str:
    """Name a host's word on itself."""
    return f"evt.host.{host_id}.{host_id}"


def claim(kind: str, value: str) -> str:
    """Name the one place where a unique value can be taken."""
    digest = sha256(f"{kind}\0{value}".encode()).hexdigest()
    return f"evt.claim.{digest}.{CTL}"


def name_claim(name: str) -> str:
    """Name where a VM's name is taken."""
    return claim(VM_NAME, name)


def group_ctl(name: str) -> str:
    """Name the control plane's word on a group of VMs: who of it was placed last."""
    return f"evt.group.{name}.{CTL}"


def command(vm_id: VmId, command_id: CommandId) -> str:
    """Name the subject of one command; expected sequence 0 makes it unique for ever."""
    return f"cmd.vm.{vm_id}.{command_id}"


def parse_command(subject: str) -> tuple[VmId, CommandId]:
    """Take a command's subject apart; ValueError when it is not one of ours."""
    match subject.split("."):
        case ["cmd", "vm", vm_id, command_id]:
            return VmId(UUID(vm_id)), CommandId(UUID(command_id))
        case _:
            raise ValueError(f"not a command subject: {subject!r}")


def heartbeat(host_id: HostId) -> str:
    """Name a host's core heartbeat, which is never stored."""
    return f"hb.{host_id}"


def statistics(host_id: HostId) -> str:
    """Name where a host tells its statistics and its VMs', which are never stored."""
    return f"stat.{host_id}"


def ended(operation_id: CommandId) -> str:
    """Name the core signal that an operation has ended and its row says so."""
    return f"ended.{operation_id}"


def service_lease(service: str) -> str:
    """Name the lease of the one active process of a service."""
    return f"lease.svc.{service}"


def dead(stream: str) -> str:
    """Name where messages of *stream* that nobody could read are kept with the reason."""
    return f"dead.{stream.lower()}"


def desired_consumer(host_id: HostId) -> str:
    """Name the durable consumer through which a host reads its desired subject."""
    return f"host-{host_id}"


@dataclass(frozen=True)
class EventSubject:
    """A parsed `evt.<kind>.<id>.<writer>`."""

    kind: Literal["vm", "host", "claim", "group"]
    id: str
    writer: str

    @property
    def uuid(self) -> UUID:
        """The VM's or host's id; a claim and a group have none (ValueError)."""
        return UUID(self.id)

    @property
    def host_id(self) -> HostId | None:
        """The host that wrote it; None for what the control plane wrote."""
        return None if self.writer in {CTL, DESIRED} else HostId(UUID(self.writer))


@lru_cache(SUBJECTS_MAX)
def parse_event(subject: str) -> EventSubject:
    """Take an event's subject apart; ValueError when it is not one of ours."""
    match subject.split("."):
        case ["evt", ("vm" | "host" | "claim" | "group") as kind, id_, writer]:
            return EventSubject(kind, id_, writer)
        case _:
            raise ValueError(f"not an event subject: {subject!r}")
