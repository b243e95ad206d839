"""What a VM may be, what of it can change while it runs, and what its placement has set aside."""

from typing import Any

import pytest
from pydantic import ValidationError

from events.spec import IMAGE_DISK, VmSpec, changed_fields, is_live, live_fields, merged, with_fields
from events.values import Desired, Resources
from events.vm import pending_changes, reserved_by
from tests.support.builders import a_vm, placement, spec

ROOM = Resources(vcpus=4, memory_mib=1024 + 114)


def other(**patch: Any) -> VmSpec:
    return merged(spec(), patch)


@pytest.mark.parametrize(
    "patch",
    [
        {"vcpus": 0},
        {"memory_mib": 31},
        {"vcpus": 3, "vcpus_max": 2},
        {"disks": [{"name": "a"}]},
        {"disks": [{"name": "a", "size_mib": 1}, {"name": "a", "size_mib": 2}]},
        {"disks": [{"name": IMAGE_DISK, "size_mib": 1}]},
        {"disks": [{"name": f"d{number}", "size_mib": 1} for number in range(17)]},
        {"nics": [{"network": "br0", "mac": "03:00:00:00:00:01"}]},
        {"nics": [{"network": "a-name-that-is-too-long"}]},
        {"machine": "q35; rm"},
        {"priority": 101},
        {"agent_wait_s": -1},
    ],
)
def test_what_no_vm_can_be_is_refused(patch: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        other(**patch)


def test_a_patch_leaves_the_rest_as_it_was() -> None:
    assert other(vcpus=1) == spec(vcpus=1)
    assert changed_fields(spec(), other(vcpus=1, image="tiny", priority=9)) == ("vcpus", "priority")
    assert merged(spec(), {}) == spec()


@pytest.mark.parametrize(
    ("patch", "live"),
    [
        ({"vcpus": 4}, True),
        ({"vcpus": 5}, False),
        ({"memory_mib": 1024}, True),
        ({"memory_mib": 1025}, False),
        ({"priority": 1}, True),
        ({"on_io_error": "kill"}, True),
        ({"agent_wait_s": 1}, True),
        ({"vcpus_max": 4}, False),
        ({"image": "other"}, False),
        ({"persistent": False}, False),
        ({"nics": [{"network": "br0"}]}, False),
    ],
)
def test_what_can_change_while_it_runs(patch: dict[str, Any], live: bool) -> None:
    (name,) = patch
    wanted = other(**patch)
    assert is_live(spec(), ROOM, wanted, name) is live
    names = live_fields(spec(), ROOM, wanted)
    assert names == ((name,) if live else ())
    assert with_fields(spec(), wanted, names) == (wanted if live else spec())


def test_all_of_vcpus_max_is_reserved_from_the_start() -> None:
    assert other(vcpus_max=8).resources == Resources(vcpus=8, memory_mib=512)
    assert spec().resources == Resources(vcpus=2, memory_mib=512)


def test_what_is_reserved_and_what_waits_are_the_placements_own() -> None:
    placed = a_vm(desired=Desired.RUNNING, placed=placement())
    assert (reserved_by(placed), pending_changes(placed)) == (spec().resources, ())
    changed = placed.model_copy(update={"spec": other(memory_mib=2048), "running": spec(), "reserved": ROOM})
    assert (reserved_by(changed), pending_changes(changed)) == (ROOM, ("memory_mib",))
