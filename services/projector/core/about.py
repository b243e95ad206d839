"""Tell whom a message speaks of."""

from dataclasses import dataclass
from typing import assert_never
from uuid import UUID

from events.commands import Command
from events.envelope import Message
from events.events import (
    ClaimReleased,
    ClaimTaken,
    CommandEnded,
    CommandJoined,
    GroupJoined,
    HostCapacityChanged,
    HostRegistered,
    HostReleased,
    HostReserved,
    VmActionRequested,
    VmCreated,
    VmDeleted,
    VmDesired,
    VmLiveUpdated,
    VmPlaced,
    VmReleased,
    VmStopRequested,
    VmUpdated,
)
from events.facts import (
    HostReported,
    RunFact,
)
from events.ids import HostId, VmId
from events.subjects import parse_event


@dataclass(frozen=True, slots=True)
class About:
    """One VM, one host, both or neither."""

    vm_id: VmId | None = None
    host_id: HostId | None = None


NOBODY = About()


def about(message: Message) -> About:
    """Tell which VM and which host *message* speaks of."""
    if isinstance(message, Command):
        return About(message.vm_id)
    match message:
        case (
            VmCreated()
            | VmStopRequested()
            | VmActionRequested()
            | VmUpdated()
            | VmLiveUpdated()
            | VmDeleted()
            | CommandJoined()
        ):
            placed = message.vm.placement
            return About(message.vm.vm_id, placed.host_id if placed is not None else None)
        case VmPlaced() | VmReleased():
            return About(message.vm.vm_id, message.placement.host_id)
        case CommandEnded():
            return About(message.vm.vm_id) if message.vm is not None else NOBODY
        case HostReserved() | HostReleased():
            return About(message.vm_id, message.host.host_id)
        case HostRegistered() | HostCapacityChanged():
            return About(host_id=message.host.host_id)
        case VmDesired():
            return About(message.entry.vm_id)
        case ClaimTaken() | ClaimReleased():
            return About(message.owner)
        case GroupJoined():
            return About(message.vm_id, message.host_id)
        case RunFact():
            return About(message.vm_id, message.host_id)
        case HostReported():
            return About(host_id=message.host_id)
        case _:
            assert_never(message)


def about_subject(subject: str) -> About:
    """Tell which VM and which host the subject of an event names, whatever lies there."""
    try:
        found = parse_event(subject)
        return About(
            VmId(UUID(found.id)) if found.kind == "vm" else None,
            HostId(UUID(found.id)) if found.kind == "host" else found.host_id,
        )
    except ValueError:
        return NOBODY
