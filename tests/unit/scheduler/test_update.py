"""An update takes effect at once where it can, else with the next start; what is reserved stays as it was."""

from typing import Any

import pytest

from events.codes import Code
from events.commands import CreateVm, PauseVm, RebootVm, StartVm, StopVm, UpdateVm
from events.desired import ActionVerb
from events.events import HostRegistered, Outcome, VmCreated, VmLiveUpdated, VmUpdated
from events.spec import IMAGE_DISK, MADE_DISKS_MAX, Disk, VmSpec
from events.values import Desired, Resources
from events.vm import pending_changes, reserved_by
from tests.support.builders import (
    HOST,
    VM,
    a_host,
    a_vm,
    booting,
    having_done,
    placement,
    running,
    spec,
    starts,
    stopped,
    with_disks,
)
from tests.unit.scheduler.story import Story, given

START, STOP = StartVm(vm_id=VM), StopVm(vm_id=VM)
OK, FAILED = Outcome.SUCCEEDED, Outcome.FAILED
ENDED = ("command.ended",)
TWO_GIB = 2048


def created(wanted: VmSpec | None = None) -> Story:
    return given(HostRegistered(host=a_host()), CreateVm(vm_id=VM, spec=wanted or spec()))


def running_vm(wanted: VmSpec | None = None) -> Story:
    return created(wanted).when(START, 90).when(running())


def update(**patch: Any) -> UpdateVm:
    return UpdateVm(vm_id=VM, patch=patch)


def allocated(story: Story) -> Resources:
    host = story.world.host(HOST).value
    assert host is not None
    return host.allocated


def test_a_stopped_vm_is_changed_at_once() -> None:
    story = created().when(update(memory_mib=TWO_GIB, vcpus=4)).then("vm.updated", "command.ended")
    assert story.ends(1, OK).facts == {"changed": ("vcpus", "memory_mib"), "live": (), "pending": ()}
    updated = story.event("vm.updated")
    assert isinstance(updated, VmUpdated)
    assert updated.changed == ("vcpus", "memory_mib")
    assert story.when(START, 2).entry().spec.memory_mib == TWO_GIB
    assert allocated(story) == spec(vcpus=4, memory_mib=TWO_GIB).needs


def test_an_update_that_changes_nothing_says_so() -> None:
    facts = running_vm().when(update(vcpus=2)).then(*ENDED).ends(1, OK).facts
    assert facts == {"changed": (), "live": (), "pending": ()}


def test_what_can_be_changed_live_is_and_ends_with_its_token() -> None:
    story = running_vm().when(update(vcpus=1, memory_mib=256, priority=90))
    story.then("vm.updated", "host.vm_desired")
    (action,) = story.entry().actions
    assert (action.verb, action.fields) == (ActionVerb.UPDATE, ("vcpus", "memory_mib", "priority"))
    assert (story.entry().spec.vcpus, story.entry().spec.memory_mib) == (1, 256)
    story.when(having_done(running(), 1)).then("vm.live_updated", "command.ended")
    assert story.ends(1, OK).facts == {"live": ("vcpus", "memory_mib", "priority"), "pending": ()}
    live = story.event("vm.live_updated")
    assert isinstance(live, VmLiveUpdated)
    assert live.vm.running == live.vm.spec
    assert reserved_by(story.vm()) == spec().needs


def test_what_cannot_be_changed_live_waits_and_ends_the_command_at_once() -> None:
    story = running_vm().when(update(memory_mib=TWO_GIB, image="other"))
    story.then("vm.updated", "command.ended")
    facts = story.ends(1, OK).facts
    assert facts == {"changed": ("memory_mib", "image"), "live": (), "pending": ("memory_mib", "image")}
    told = story.when(PauseVm(vm_id=VM), 2).entry()
    assert (told.spec.memory_mib, told.spec.image) == (512, "tiny")


def test_of_a_mixed_update_the_one_part_is_live_and_the_other_waits() -> None:
    story = running_vm().when(update(vcpus=1, memory_mib=TWO_GIB))
    assert (story.entry().spec.vcpus, story.entry().spec.memory_mib) == (1, 512)
    story.when(having_done(running(), 1))
    assert story.ends(1, OK).facts == {"live": ("vcpus",), "pending": ("memory_mib",)}
    assert pending_changes(story.vm()) == ("memory_mib",)


def test_vcpus_are_plugged_up_to_what_was_reserved_and_not_beyond() -> None:
    story = running_vm(spec().model_copy(update={"vcpus_max": 4}))
    assert allocated(story).vcpus == 4
    story.when(update(vcpus=4), 1).then("vm.updated", "host.vm_desired")
    assert story.when(having_done(running(), 1)).ends(1, OK).facts["live"] == ("vcpus",)
    story.when(update(vcpus=6, vcpus_max=8), 2).then("vm.updated", "command.ended")
    assert story.ends(2, OK).facts["pending"] == ("vcpus", "vcpus_max")


def test_a_live_update_that_the_host_refuses_fails_and_waits_for_the_next_start() -> None:
    story = running_vm().when(update(vcpus=1)).when(having_done(running(), 1, refused="no such CPU"))
    facts = story.then(*ENDED).ends(1, FAILED, Code.ACTION_REFUSED).facts
    assert facts == {"verb": "update", "message": "no such CPU", "host": "rack-1"}
    assert pending_changes(story.vm()) == ("vcpus",)
    story.when(update(priority=9), 2)
    assert (story.entry().spec.vcpus, story.entry().spec.priority) == (2, 9), "what was refused comes again"
    assert story.when(having_done(running(), 2)).ends(2, OK).facts == {
        "live": ("priority",),
        "pending": ("vcpus",),
    }
    assert pending_changes(story.vm()) == ("vcpus",)


def test_each_of_two_updates_takes_over_its_own_and_no_more() -> None:
    story = running_vm().when(update(vcpus=1), 1).when(update(memory_mib=256), 2)
    assert story.when(having_done(running(), 1)).ends(1, OK).facts["live"] == ("vcpus",)
    story.when(having_done(having_done(running(), 1), 2, refused="no")).ends(2, FAILED, Code.ACTION_REFUSED)
    assert pending_changes(story.vm()) == ("memory_mib",)


def test_a_reboot_beside_a_change_that_is_on_its_way_is_no_new_start() -> None:
    story = running_vm().when(update(vcpus=1), 1).when(RebootVm(vm_id=VM), 2)
    assert story.vm().desired is Desired.RUNNING
    assert [one.verb for one in story.entry().actions] == [ActionVerb.UPDATE, ActionVerb.REBOOT]


@pytest.mark.parametrize(
    ("patch", "reason"),
    [
        ({"vcpus": 0}, "vcpus: "),
        ({"memory_mib": "much"}, "memory_mib: "),
        ({"vcpus_max": 1}, "spec: "),
        ({"disks": [{"name": "data"}]}, "disks.0"),
        ({"disks": [{"name": "image", "size_mib": 1}]}, "spec: "),
        ({"nics": [{"network": "br0", "mac": "01:00:00:00:00:00"}]}, "nics.0.mac: "),
        ({"image": None}, "image: "),
    ],
)
def test_a_change_that_makes_no_valid_vm_is_refused_with_its_field(
    patch: dict[str, Any], reason: str
) -> None:
    story = created()
    before = story.vm()
    facts = story.when(UpdateVm(vm_id=VM, patch=patch)).then(*ENDED).ends(1, FAILED, Code.INVALID_SPEC).facts
    assert facts["reason"].startswith(reason), facts
    assert story.vm() == before


def test_a_vm_keeps_its_name() -> None:
    facts = created().when(update(name="db")).ends(1, FAILED, Code.CANNOT_RENAME).facts
    assert facts == {"name": "web", "wanted": "db"}


DATA = Disk(name="data", size_mib=64)


def with_made_disk() -> Story:
    story = created(spec().model_copy(update={"disks": (DATA,)})).when(START, 90)
    story.when(with_disks(booting(), "data", IMAGE_DISK)).when(StopVm(vm_id=VM), 91)
    return story.when(with_disks(stopped(), "data", IMAGE_DISK))


@pytest.mark.parametrize(
    ("patch", "disk"),
    [
        ({"disks": [{"name": "data", "size_mib": 128}]}, "data"),
        ({"disks": [{"name": "data", "size_mib": 64, "format": "raw"}]}, "data"),
        ({"disks": [{"name": "data", "size_mib": 64, "storage": "fast"}]}, "data"),
        ({"image": "other"}, IMAGE_DISK),
    ],
)
def test_a_disk_that_was_made_cannot_become_another(patch: dict[str, Any], disk: str) -> None:
    story = with_made_disk().when(UpdateVm(vm_id=VM, patch=patch))
    assert repr(disk) in story.ends(1, FAILED, Code.INVALID_SPEC).facts["reason"]


@pytest.mark.parametrize(
    "disks", [[], [{"name": "data", "size_mib": 64}, {"name": "more", "size_mib": 1}]], ids=["less", "more"]
)
def test_a_disk_may_be_left_out_or_added(disks: list[dict[str, Any]]) -> None:
    with_made_disk().when(update(disks=disks)).ends(1, OK)


def test_a_disk_that_was_left_out_may_be_put_back_as_it_was_and_not_otherwise() -> None:
    story = with_made_disk().when(update(disks=[]), 1)
    assert story.vm().left_out == (DATA,)
    story.when(update(disks=[{"name": "data", "size_mib": 65}]), 2).ends(2, FAILED, Code.INVALID_SPEC)
    story.when(update(disks=[{"name": "data", "size_mib": 64}]), 3).ends(3, OK)
    assert story.vm().left_out == ()


def test_a_vm_has_had_so_many_disks_and_no_more() -> None:
    story = with_made_disk()
    full = story.vm().model_copy(update={"made_disks": tuple(f"d{n}" for n in range(MADE_DISKS_MAX))})
    story.given(VmUpdated(vm=full, changed=()))
    facts = (
        story.when(update(disks=[{"name": "one-more", "size_mib": 1}]))
        .ends(1, FAILED, Code.INVALID_SPEC)
        .facts
    )
    assert str(MADE_DISKS_MAX) in facts["reason"]


def test_what_is_no_disk_of_the_vm_is_none_that_its_host_can_have_made() -> None:
    story = created().when(START, 90).when(with_disks(booting(), "not-mine"))
    assert story.vm().made_disks == ()


def test_a_disk_that_was_never_made_may_become_another() -> None:
    created(spec().model_copy(update={"disks": (DATA,)})).when(update(disks=[])).ends(1, OK)


def test_a_release_gives_back_what_the_start_reserved_though_the_spec_has_changed() -> None:
    story = running_vm().when(update(vcpus=4, memory_mib=TWO_GIB), 1)
    assert allocated(story) == spec().needs
    story.when(STOP, 2).when(stopped())
    assert allocated(story) == Resources(vcpus=0, memory_mib=0)
    story.when(START, 3)
    assert allocated(story) == spec(vcpus=4, memory_mib=TWO_GIB).needs
    assert reserved_by(story.vm()) == spec(vcpus=4, memory_mib=TWO_GIB).needs


def test_a_placement_of_an_older_release_gives_back_what_it_reserved() -> None:
    """Its events name neither what it runs as nor what is reserved: that was its spec."""
    placed = a_vm(desired=Desired.RUNNING, placed=placement(), pending=starts(90))
    story = given(HostRegistered(host=a_host(vms=1)), VmCreated(vm=placed)).when(running())
    story.when(update(memory_mib=TWO_GIB), 1).then("vm.updated", "command.ended")
    assert story.ends(1, OK).facts["pending"] == ("memory_mib",)
    story.when(STOP, 2).when(stopped())
    assert allocated(story) == Resources(vcpus=0, memory_mib=0)


def test_an_update_that_waits_when_the_vm_stops_has_succeeded() -> None:
    story = running_vm().when(update(vcpus=1), 1).when(STOP, 2).when(stopped())
    assert story.ends(1, OK).facts == {"live": (), "pending": ()}
    story.ends(2, OK)
    assert story.when(START, 3).entry().spec.vcpus == 1


def test_an_update_of_what_is_about_to_stop_is_taken_in_at_once() -> None:
    story = running_vm().when(STOP, 2).when(update(vcpus=1), 1).then("vm.updated", "command.ended")
    assert story.ends(1, OK).facts["live"] == ()
    assert story.when(stopped()).when(START, 3).entry().spec.vcpus == 1


def test_an_update_that_comes_again_decides_nothing() -> None:
    running_vm().when(update(vcpus=1), 1).when(update(vcpus=1), 1).then()


def test_what_is_about_to_start_does_so_as_it_was_placed_and_is_changed_when_it_runs() -> None:
    story = created().when(START, 90).when(update(vcpus=1), 1).then("vm.updated", "command.ended")
    assert story.ends(1, OK).facts["pending"] == ("vcpus",)
    story.when(booting()).then(*ENDED).ends(90, OK)
    story.when(update(vcpus=1), 2).then("vm.updated", "host.vm_desired")
    assert story.entry().spec.vcpus == 1
