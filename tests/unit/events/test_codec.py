"""Whatever we write we can read; whatever else comes is refused with a reason."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from events.codec import BODY_MAX, TYPES, Undecodable, decode, encode, same_request
from events.commands import Command, StartVm, StopVm
from events.envelope import Message, Origin, Sealed
from events.events import CommandEnded
from events.ids import EventId
from events.upcasters import LATEST
from tests.support.builders import VM, a_write
from tests.support.messages import messages

SUBJECT = f"evt.vm.{VM}.ctl"


def sealed(message: Message) -> Sealed:
    origin = Origin(source="roost/test", actor="ann", causation=UUID(int=1), correlation=UUID(int=2))
    return Sealed(
        id=EventId(UUID(int=9)),
        subject=SUBJECT,
        time=datetime(2026, 1, 1, tzinfo=UTC),
        origin=origin,
        message=message,
    )


@pytest.mark.parametrize("name", sorted(TYPES))
def test_every_type_is_read_as_it_was_written(name: str) -> None:
    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(messages(TYPES[name]))
    def reads_back(message: Message) -> None:
        envelope, found = decode(encode(sealed(message)))
        assert found == message
        assert (envelope.id, envelope.type, envelope.actor) == (UUID(int=9), name, "ann")
        assert (envelope.causationid, envelope.correlationid) == (UUID(int=1), UUID(int=2))

    reads_back()


def test_every_type_has_a_newest_version() -> None:
    assert TYPES.keys() == LATEST.keys()


def body(**changes: Any) -> bytes:
    envelope = json.loads(a_write(SUBJECT, StopVm(vm_id=VM)).body)
    data = changes.pop("data", {})
    return json.dumps(envelope | changes | {"data": envelope["data"] | data}).encode()


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (b"", "no envelope"),
        (b"\xff\xfe", "no envelope"),
        (b"[]", "no envelope"),
        (b"[" * 100_000, "no envelope"),
        (body(id="no id"), "no envelope: id"),
        (body(time="2026-01-01T00:00:00"), "no envelope: time"),
        (body(specversion="2.0"), "no envelope: specversion"),
        (body(type="vm.teleport"), "type 'vm.teleport' is not known"),
        (body(dataversion=2), "version 2 is newer than 1"),
        (body(dataversion=0), "no envelope: dataversion"),
        (body(data={"vm_id": "x"}), "vm.stop version 1: vm_id"),
        (body(data={"grace_s": -1}), "vm.stop version 1: grace_s"),
        (body(data={"grace_s": float("nan")}), "vm.stop version 1: grace_s"),
        (body(data={"grace_s": float("inf")}), "vm.stop version 1: grace_s"),
        (b" " * (BODY_MAX + 1), f"{BODY_MAX + 1} bytes, the most is {BODY_MAX}"),
    ],
    ids=range(15),
)
def test_what_is_no_message_is_refused_with_the_reason(broken: bytes, reason: str) -> None:
    with pytest.raises(Undecodable, match=reason):
        decode(broken)


@settings(max_examples=100, database=None)
@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(noise: bytes) -> None:
    with pytest.raises(Undecodable):
        decode(noise)


def test_an_older_reader_ignores_a_newer_writers_field() -> None:
    _, message = decode(body(data={"added_later": True}))
    assert message == StopVm(vm_id=VM)


def request(command: Command, actor: str = "ann", at: int = 0) -> bytes:
    origin = Origin(source=f"roost/api-{at}", actor=actor)
    time = datetime(2026, 1, 1, 0, at, tzinfo=UTC)
    return encode(replace(sealed(command), origin=origin, time=time))


def test_a_retry_of_a_command_is_the_same_request_at_another_time() -> None:
    assert same_request(request(StopVm(vm_id=VM)), request(StopVm(vm_id=VM), at=5))


@pytest.mark.parametrize(
    "other",
    [request(StartVm(vm_id=VM)), request(StopVm(vm_id=VM, grace_s=1)), request(StopVm(vm_id=VM), "bob")],
)
def test_another_verb_value_or_person_is_another_request(other: bytes) -> None:
    assert not same_request(request(StopVm(vm_id=VM)), other)


def test_a_generation_is_told_in_the_envelope() -> None:
    ended = CommandEnded.model_validate({"command_id": UUID(int=1), "outcome": "failed"})
    assert decode(encode(sealed(ended)))[0].generation is None
