"""Statistics fit into messages, however many VMs there are, and only what makes sense is read."""

import json
from uuid import UUID

import pytest
from pydantic import ValidationError

from events.ids import Generation, VmId
from events.statistics import (
    PARTS_MAX,
    DiskStatistics,
    HostMemory,
    HostStatistics,
    VmStatistics,
    messages,
)
from tests.support.builders import HOST, NOON

MEMORY = HostMemory(
    total_kib=100, free_kib=10, available_kib=50, cached_kib=1, swap_total_kib=0, swap_free_kib=0
)
ROOM = 2000


def told(vms: int) -> HostStatistics:
    some = (
        VmStatistics(
            vm_id=VmId(UUID(int=number)),
            generation=Generation(1),
            vcpus=1,
            cpu_seconds=number / 7,
            disks=(DiskStatistics(target="vda", read_bytes=number),),
        )
        for number in range(vms)
    )
    return HostStatistics(
        host_id=HOST, at=NOON, interval_s=10, memory=MEMORY, load=(0.1, 0.2, 0.3), vms=tuple(some)
    )


def test_what_fits_is_one_message_and_is_read_as_it_was_written() -> None:
    (body,) = messages(told(3))
    assert HostStatistics.model_validate_json(body) == told(3)


def test_what_does_not_fit_comes_in_parts_that_lose_and_repeat_no_vm() -> None:
    parts = list(messages(told(100), ROOM))
    assert all(len(body) <= ROOM for body in parts)
    read = [HostStatistics.model_validate_json(body) for body in parts]
    assert [(one.part, one.parts) for one in read] == [(n, len(parts)) for n in range(1, len(parts) + 1)]
    assert [vm for one in read for vm in one.vms] == list(told(100).vms)
    assert {(one.at, one.memory, one.load) for one in read} == {(NOON, MEMORY, (0.1, 0.2, 0.3))}


def test_a_host_of_absurdly_many_vms_sends_a_bounded_number_of_messages() -> None:
    parts = [HostStatistics.model_validate_json(body) for body in messages(told(500), ROOM)]
    assert len(parts) == PARTS_MAX
    assert {one.parts for one in parts} == {PARTS_MAX}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cpu_seconds", "NaN"),
        ("cpu_seconds", -1),
        ("cpu_seconds", 1e999),
        ("vcpus", 2**64),
        ("cpu_wait_seconds", 1e999),
        ("disks", [{"target": "vda"}] * 21),
        ("disks", [{"target": "x" * 254}]),
        ("disks", [{"target": "vda", "read_bytes": -1}]),
    ],
)
def test_figures_that_nobody_could_add_up_are_refused(name: str, value: object) -> None:
    body = json.loads(next(messages(told(1))))
    HostStatistics.model_validate_json(json.dumps(body))
    body["vms"][0][name] = value
    with pytest.raises(ValidationError):
        HostStatistics.model_validate_json(json.dumps(body))
