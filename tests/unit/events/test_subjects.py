"""What builds a subject and what takes it apart agree, and nothing else is taken for ours."""

from uuid import UUID

import pytest

from events import subjects
from events.commands import StartVm
from events.envelope import Message
from events.events import ClaimTaken, CommandEnded, HostRegistered, Outcome, VmCreated, VmDesired
from events.places import in_place
from tests.support.builders import (
    HOST,
    OTHER_HOST,
    VM,
    a_host,
    a_vm,
    an_entry,
    command_id,
    report,
    running,
    vm_id,
)

OTHER_VM = vm_id(7)


@pytest.mark.parametrize(
    ("subject", "kind", "uuid", "host"),
    [
        (subjects.vm_ctl(VM), "vm", VM, None),
        (subjects.vm_fact(VM, HOST), "vm", VM, HOST),
        (subjects.host_ctl(HOST), "host", HOST, None),
        (subjects.host_desired(HOST), "host", HOST, None),
        (subjects.host_fact(HOST), "host", HOST, HOST),
    ],
)
def test_an_event_subject_is_taken_apart(subject: str, kind: str, uuid: UUID, host: UUID | None) -> None:
    parsed = subjects.parse_event(subject)
    assert (parsed.kind, parsed.uuid, parsed.host_id) == (kind, uuid, host)


def test_a_claim_is_one_subject_a_value_and_shows_nothing_of_it() -> None:
    claim = subjects.name_claim("web")
    assert subjects.parse_event(claim).kind == "claim"
    assert "web" not in claim
    assert claim != subjects.name_claim("db")
    assert claim != subjects.claim("mac", "web")


def test_a_command_subject_is_taken_apart() -> None:
    assert subjects.parse_command(subjects.command(VM, command_id(1))) == (VM, command_id(1))


@pytest.mark.parametrize("subject", ["cmd.vm.x", "cmd.host.a.b", "evt.vm.a.ctl", "cmd.vm.not-an-id.x", ""])
def test_what_is_no_command_subject_is_refused(subject: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        subjects.parse_command(subject)


@pytest.mark.parametrize("subject", ["evt.vm.a", "evt.disk.a.ctl", "cmd.vm.a.b", "evt.vm.a.ctl.x", ""])
def test_what_is_no_event_subject_is_refused(subject: str) -> None:
    with pytest.raises(ValueError, match="not an event subject"):
        subjects.parse_event(subject)


OWN: list[tuple[str, Message]] = [
    (subjects.vm_ctl(VM), VmCreated(vm=a_vm())),
    (subjects.vm_ctl(VM), CommandEnded(command_id=command_id(1), outcome=Outcome.FAILED)),
    (subjects.vm_fact(VM, HOST), running()),
    (subjects.host_fact(HOST), report()),
    (subjects.host_ctl(HOST), HostRegistered(host=a_host())),
    (subjects.host_desired(HOST), VmDesired(entry=an_entry())),
    (subjects.name_claim("web"), ClaimTaken(kind=subjects.VM_NAME, value="web", owner=VM)),
]


@pytest.mark.parametrize(("subject", "message"), OWN, ids=lambda one: getattr(one, "TYPE", ""))
def test_a_message_is_in_its_own_place(subject: str, message: Message) -> None:
    assert in_place(subjects.parse_event(subject), message)


@pytest.mark.parametrize(
    ("subject", "message"),
    [
        (subjects.vm_fact(VM, OTHER_HOST), running()),
        (subjects.vm_fact(OTHER_VM, HOST), running()),
        (subjects.vm_fact(VM, HOST), VmCreated(vm=a_vm())),
        (subjects.vm_fact(VM, HOST), OWN[1][1]),
        (subjects.host_fact(OTHER_HOST), report()),
        (subjects.host_fact(HOST), HostRegistered(host=a_host())),
        (subjects.vm_ctl(OTHER_VM), VmCreated(vm=a_vm())),
        (subjects.vm_ctl(VM), running()),
        (subjects.vm_ctl(VM), StartVm(vm_id=VM)),
        (subjects.name_claim("db"), OWN[6][1]),
    ],
)
def test_nobody_speaks_in_anothers_place(subject: str, message: Message) -> None:
    assert not in_place(subjects.parse_event(subject), message)
