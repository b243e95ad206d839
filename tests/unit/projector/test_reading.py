"""What can be read, what cannot, and what is kept of it either way."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from events import subjects
from events.codec import BODY_MAX, Undecodable, encode
from events.commands import StopVm
from events.envelope import Message, Origin, Sealed
from events.events import ClaimTaken, CommandEnded, Outcome, VmCreated, VmPlaced
from events.facts import HostReported, VmRunning, VmStartFailed
from events.ids import CommandId, EventId, Generation, HostId, Seq, VmId
from events.spec import VmSpec
from events.values import Desired, Placement, Versions
from events.vm import Vm
from services.projector.core.reading import logged, read

VM, HOST, OTHER = VmId(UUID(int=1)), HostId(UUID(int=7)), HostId(UUID(int=8))
ID, OPERATION = EventId(UUID(int=5)), CommandId(UUID(int=6))
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SPEC = VmSpec(name="web", vcpus=2, memory_mib=512, image="debian")
PLACED = Vm(
    vm_id=VM,
    spec=SPEC,
    desired=Desired.RUNNING,
    generation=Generation(1),
    placement=Placement(host_id=HOST, generation=Generation(1)),
)
RUNNING = VmRunning(vm_id=VM, host_id=HOST, generation=Generation(1))
VERSIONS = Versions(roost="0.1.0", hypervisor="qemu", libvirt="9", qemu="7", kernel="6")


def body_of(message: Message, subject: str, event_id: EventId = ID) -> bytes:
    origin = Origin(source="test", actor="ann", causation=OPERATION, correlation=OPERATION)
    return encode(Sealed(id=event_id, subject=subject, time=NOON, origin=origin, message=message))


def report(**changes: Any) -> bytes:
    """A host's report whose data was changed on the wire."""
    sent = HostReported(host_id=HOST, name="h", cores=4, memory_mib=1, versions=VERSIONS, boot_id="b")
    envelope = json.loads(body_of(sent, subjects.host_fact(HOST)))
    envelope["data"] |= changes
    return json.dumps(envelope).encode()


OWN_PLACE: list[tuple[Message, str]] = [
    (VmCreated(vm=PLACED), subjects.vm_ctl(VM)),
    (CommandEnded(command_id=OPERATION, outcome=Outcome.FAILED), subjects.vm_ctl(VM)),
    (RUNNING, subjects.vm_fact(VM, HOST)),
    (ClaimTaken(kind="vm-name", value="web", owner=VM), subjects.name_claim("web")),
    (StopVm(vm_id=VM), subjects.command(VM, CommandId(ID))),
]


@pytest.mark.parametrize(("message", "subject"), OWN_PLACE)
def test_a_message_in_its_own_place_is_read(message: Message, subject: str) -> None:
    seen = read(Seq(3), subject, body_of(message, subject))
    assert (seen.seq, seen.subject, seen.message, seen.envelope.id) == (3, subject, message, ID)


@pytest.mark.parametrize(
    ("message", "subject"),
    [
        (
            VmPlaced(vm=PLACED, placement=Placement(host_id=HOST, generation=Generation(1)), considered=1),
            subjects.vm_fact(VM, HOST),
        ),
        (CommandEnded(command_id=OPERATION, outcome=Outcome.FAILED), subjects.vm_fact(VM, HOST)),
        (RUNNING, subjects.vm_fact(VM, OTHER)),
        (RUNNING, subjects.vm_fact(VmId(UUID(int=2)), HOST)),
        (ClaimTaken(kind="vm-name", value="web", owner=VM), subjects.name_claim("db")),
        (StopVm(vm_id=VM), subjects.command(VM, CommandId(UUID(int=99)))),
    ],
)
def test_a_message_in_anybody_elses_place_is_refused(message: Message, subject: str) -> None:
    with pytest.raises(Undecodable, match="does not belong"):
        read(Seq(1), subject, body_of(message, subject))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\x00",
        b"[]",
        b"[" * 200_000,
        report(type="no.such"),
        report(name="nul \0 inside"),
        report(boot_id="half \ud800 a pair"),
        report(cores=10**30),
        report(cores=1e30),
        report(more=[2**63]),
        report(more={"deep": [1, -(2**63) - 1]}),
        report(more=[0, 12345678901234567890.5]),
        report(extra=float("inf")),
        report(extra=7).replace(b": 7", b": " + b"7" * 5000),
        report().replace(b"2026-01-01T12:00:00Z", b"0001-01-01T00:00:00+14:00"),
    ],
    ids=range(15),
)
def test_what_no_table_can_hold_is_refused_and_yet_logged(body: bytes) -> None:
    subject = subjects.host_fact(HOST)
    if b"no.such" not in body:
        with pytest.raises(Undecodable):
            read(Seq(1), subject, body)
    event = logged(seq=Seq(1), subject=subject, event_id=ID, body=body, seen=None)
    assert (event.seq, event.host_id, event.event_id) == (1, HOST, ID)


def test_text_with_a_backslash_before_u0000_is_only_text() -> None:
    message = VmStartFailed(vm_id=VM, host_id=HOST, generation=Generation(1), message="C:\\u0000")
    subject = subjects.vm_fact(VM, HOST)
    assert read(Seq(1), subject, body_of(message, subject)).message == message


def test_what_was_read_is_logged_with_all_that_it_tells() -> None:
    message = VmPlaced(vm=PLACED, placement=Placement(host_id=HOST, generation=Generation(1)), considered=1)
    subject = subjects.vm_ctl(VM)
    body = body_of(message, subject)
    event = logged(seq=Seq(4), subject=subject, event_id=None, body=body, seen=read(Seq(4), subject, body))
    assert (event.vm_id, event.host_id, event.type, event.actor) == (VM, HOST, "vm.placed", "ann")
    assert (event.event_id, event.time, event.causation_id) == (ID, NOON, OPERATION)
    assert event.body == json.loads(body)


def test_what_could_not_be_read_is_logged_by_its_subject() -> None:
    event = logged(seq=Seq(4), subject=subjects.vm_fact(VM, HOST), event_id=ID, body=b"nonsense", seen=None)
    assert (event.vm_id, event.host_id, event.event_id, event.body) == (VM, HOST, ID, None)
    nowhere = logged(seq=Seq(5), subject="evt.vm.not-an-id.ctl", event_id=None, body=b"{}", seen=None)
    assert (nowhere.vm_id, nowhere.host_id, nowhere.body) == (None, None, {})


def test_what_is_longer_than_ours_is_logged_by_its_bytes_alone() -> None:
    body = report(boot_id="b" * BODY_MAX)
    event = logged(seq=Seq(4), subject=subjects.host_fact(HOST), event_id=ID, body=body, seen=None)
    assert (event.host_id, event.event_id, event.body) == (HOST, ID, None)


def test_an_end_that_names_no_vm_is_refused_where_its_subject_names_none_either() -> None:
    subject = "evt.vm.not-an-id.ctl"
    ended = CommandEnded(command_id=OPERATION, outcome=Outcome.FAILED)
    with pytest.raises(Undecodable, match="does not belong"):
        read(Seq(1), subject, body_of(ended, subject))


def test_an_unknown_type_is_logged_with_its_envelope() -> None:
    envelope = json.loads(report()) | {"type": "vm.teleported"}
    body = json.dumps(envelope).encode()
    with pytest.raises(Undecodable, match="not known"):
        read(Seq(1), subjects.host_fact(HOST), body)
    event = logged(seq=Seq(1), subject=subjects.host_fact(HOST), event_id=None, body=body, seen=None)
    assert (event.type, event.event_id, event.actor, event.body) == ("vm.teleported", ID, "ann", envelope)
