"""Tell whether a message lies where its writer may put it: a host must not speak in another's name."""

from typing import assert_never
from uuid import UUID

from events import subjects
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
from events.facts import HostReported, RunFact


def in_place(subject: subjects.EventSubject, message: Message) -> bool:
    """Tell whether *message* belongs on *subject*, which is one of the log of events."""
    if isinstance(message, Command):
        return False
    match message:
        case CommandEnded():
            vm_id = str(message.vm.vm_id) if message.vm is not None else subject.id
            return _is(subject, "vm", vm_id, subjects.CTL)
        case HostRegistered() | HostCapacityChanged() | HostReserved() | HostReleased():
            return _is(subject, "host", message.host.host_id, subjects.CTL)
        case VmDesired():
            return (subject.kind, subject.writer) == ("host", subjects.DESIRED)
        case ClaimTaken() | ClaimReleased():
            return subject == subjects.parse_event(subjects.claim(message.kind, message.value))
        case GroupJoined():
            return _is(subject, "group", message.group, subjects.CTL)
        case RunFact():
            return _is(subject, "vm", message.vm_id, str(message.host_id))
        case HostReported():
            return _is(subject, "host", message.host_id, str(message.host_id))
        case (
            VmCreated()
            | VmPlaced()
            | VmStopRequested()
            | VmActionRequested()
            | VmUpdated()
            | VmLiveUpdated()
            | VmReleased()
            | VmDeleted()
            | CommandJoined()
        ):
            return _is(subject, "vm", message.vm.vm_id, subjects.CTL)
        case _:
            assert_never(message)


def _is(subject: subjects.EventSubject, kind: str, id_: UUID | str, writer: str) -> bool:
    return (subject.kind, subject.id, subject.writer) == (kind, str(id_), writer)
