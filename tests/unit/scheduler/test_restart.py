"""A reboot with changes that wait for a start: the old placement ends and a new one begins, in one batch."""

import pytest

from events import subjects
from events.codes import Code
from events.commands import CreateVm, PowerOffVm, RebootVm, StartVm, StopVm, UpdateVm, VerbCommand
from events.events import HostRegistered, Outcome, VmPlaced
from events.facts import StopCause
from events.host import Host
from events.ids import HostId
from events.spec import RunOnce
from events.values import Desired, Resources
from tests.support.builders import (
    HOST,
    OTHER_HOST,
    VM,
    a_host,
    booting,
    command_id,
    placement,
    running,
    spec,
    start_failed,
    stopped,
    with_disks,
)
from tests.unit.scheduler.story import Story, given

START, STOP, REBOOT = StartVm(vm_id=VM), StopVm(vm_id=VM), RebootVm(vm_id=VM, grace_s=20)
MORE = UpdateVm(vm_id=VM, patch={"memory_mib": 2048})
OK, FAILED = Outcome.SUCCEEDED, Outcome.FAILED
RELEASED = ("vm.released", "host.released", "host.vm_desired")
PLACED = ("vm.placed", "host.reserved", "host.vm_desired")
NOBODY = Resources(vcpus=0, memory_mib=0)


def changed(*hosts: Host, start: StartVm = START, more: UpdateVm = MORE) -> Story:
    """A VM that runs on the first host, with a change that waits."""
    story = given(*(HostRegistered(host=host) for host in hosts or (a_host(),)))
    return story.given(CreateVm(vm_id=VM, spec=spec())).when(start, 90).when(running()).when(more, 91)


def host(story: Story, host_id: HostId = HOST) -> Host:
    found = story.world.host(host_id).value
    assert found is not None
    return found


def test_where_its_disks_are_it_must_find_room_again_or_it_does_not_go_down() -> None:
    story = given(HostRegistered(host=a_host(memory_mib=1024)), CreateVm(vm_id=VM, spec=spec()))
    story.when(START, 90).when(with_disks(running(), "image")).when(MORE, 91).when(REBOOT, 1).then(
        "command.ended"
    )
    facts = story.ends(1, FAILED, Code.NO_HOST_FITS).facts
    assert (facts["considered"], facts["memory_mib"]) == (1, 2048 + 100)
    assert story.vm().desired is Desired.RUNNING


def test_without_changes_it_is_a_reboot_of_the_guest() -> None:
    changed(more=UpdateVm(vm_id=VM, patch={})).when(REBOOT).then("vm.action_requested", "host.vm_desired")


def test_the_vm_is_stopped_first_with_the_grace_of_the_reboot() -> None:
    story = changed().when(REBOOT).then("vm.action_requested", "host.vm_desired")
    told = story.entry()
    assert (told.desired, told.grace_s, told.actions) == (Desired.STOPPED, 20, ())


def test_it_is_released_and_placed_anew_in_one_batch_on_the_same_host() -> None:
    story = changed().when(REBOOT, 1).when(stopped()).then(*RELEASED, *PLACED)
    assert story.last.guards is not None
    assert story.last.guards.keys() == {subjects.vm_ctl(VM), subjects.host_ctl(HOST)}
    assert [(one, told.desired, told.generation) for one, told in story.entries()[-2:]] == [
        (HOST, Desired.ABSENT, 1),
        (HOST, Desired.RUNNING, 2),
    ]
    assert story.entry().spec.memory_mib == 2048
    assert (host(story).vms, host(story).allocated) == (1, Resources(vcpus=2, memory_mib=2048 + 100))
    story.when(booting(generation=2)).then("command.ended").ends(1, OK)


def test_it_goes_to_another_host_where_its_own_cannot_take_it_any_more() -> None:
    story = changed(a_host(memory_mib=1024), more=UpdateVm(vm_id=VM, patch={}))
    story.given(HostRegistered(host=a_host(OTHER_HOST))).when(MORE, 92).when(REBOOT, 1)
    story.when(stopped()).then(*RELEASED, *PLACED)
    placed = story.event("vm.placed")
    assert isinstance(placed, VmPlaced)
    assert placed.placement == placement(OTHER_HOST, 2)
    assert [(one, told.desired) for one, told in story.entries()[-2:]] == [
        (HOST, Desired.ABSENT),
        (OTHER_HOST, Desired.RUNNING),
    ]
    assert story.last.guards is not None
    assert {subjects.host_ctl(HOST), subjects.host_ctl(OTHER_HOST)} <= story.last.guards.keys()
    assert (host(story).allocated, host(story, OTHER_HOST).vms) == (NOBODY, 1)


def test_where_no_host_fits_it_ends_so_and_the_vm_is_stopped() -> None:
    story = changed(a_host(memory_mib=1024)).when(REBOOT, 1).when(stopped())
    story.then(*RELEASED, "command.ended")
    assert story.ends(1, FAILED, Code.NO_HOST_FITS).facts["memory_mib"] == 2048 + 100
    vm = story.vm()
    assert (vm.placement, vm.desired, vm.pending, vm.generation) == (None, Desired.STOPPED, (), 1)
    assert host(story).allocated == NOBODY
    story.when(UpdateVm(vm_id=VM, patch={"memory_mib": 512}), 2).when(START, 3).then(*PLACED)


def test_its_own_host_may_take_it_though_no_heartbeat_was_heard_lately() -> None:
    """What was just heard of it is its fact."""
    changed().when(REBOOT, 1).silence(HOST).when(stopped()).then(*RELEASED, *PLACED)


@pytest.mark.parametrize("stop", [STOP, StopVm(vm_id=VM, grace_s=1), PowerOffVm(vm_id=VM)])
def test_a_stop_overtakes_it_while_the_old_guest_goes(stop: VerbCommand) -> None:
    story = changed().when(REBOOT, 1).when(stop, 2)
    story.then("vm.stop_requested", "command.ended", "host.vm_desired")
    assert story.ends(1, FAILED, Code.SUPERSEDED).facts["by"] == f"op_{command_id(2)}"
    assert story.entry().grace_s <= 20
    story.when(stopped()).then(*RELEASED, "command.ended").ends(2, OK)
    assert story.vm().placement is None


def test_a_stop_overtakes_it_while_the_new_guest_starts() -> None:
    story = changed().when(REBOOT, 1).when(stopped()).when(STOP, 2)
    story.ends(1, FAILED, Code.SUPERSEDED)
    story.when(stopped(generation=2)).then(*RELEASED, "command.ended").ends(2, OK)


def test_a_stop_that_meets_the_old_guests_end_stops_the_new_one() -> None:
    story = changed().when(REBOOT, 1).given(stopped()).when(STOP, 2)
    story.ends(1, FAILED, Code.SUPERSEDED)
    story.when(stopped(generation=2)).ends(2, OK)
    assert (story.vm().placement, host(story).allocated) == (None, NOBODY)


def test_a_start_failure_of_the_new_placement_ends_it() -> None:
    story = changed().when(REBOOT, 1).when(stopped()).when(start_failed(generation=2, message="no disk"))
    story.then(*RELEASED, "command.ended")
    assert story.ends(1, FAILED, Code.HYPERVISOR_REFUSED).facts["message"] == "no disk"
    assert story.vm().placement is None


def test_a_new_guest_that_ends_before_it_is_up_ends_it_and_is_not_tried_again() -> None:
    story = changed().when(REBOOT, 1).when(stopped()).when(stopped(generation=2, cause=StopCause.CRASHED))
    assert story.ends(1, FAILED, Code.GUEST_STOPPED).facts["cause"] == "crashed"
    assert story.vm().placement is None


def test_facts_of_the_old_placement_do_not_end_it() -> None:
    story = changed().when(REBOOT, 1).when(stopped())
    story.when(running()).then()
    story.when(stopped()).then()


def test_what_else_waits_is_overtaken_and_an_update_is_taken_over() -> None:
    story = changed().when(RebootVm(vm_id=VM), 1)
    story = changed().when(UpdateVm(vm_id=VM, patch={"vcpus": 1}), 2).when(REBOOT, 3)
    assert story.pending() == [command_id(2), command_id(3)]
    story.when(stopped()).then(*RELEASED, "command.ended", *PLACED)
    story.ends(2, OK)
    assert (story.entry().spec.vcpus, story.entry().spec.memory_mib) == (1, 2048)


def test_what_held_for_one_run_only_is_over_with_it() -> None:
    once = StartVm(vm_id=VM, once=RunOnce(host_id=HOST, cmdline="single"))
    story = changed(a_host(), start=once).given(
        HostRegistered(host=a_host(OTHER_HOST, vcpus=64, memory_mib=65536))
    )
    story.when(REBOOT, 1).when(stopped())
    assert story.entries()[-1][0] == OTHER_HOST
    assert (story.entry().once, story.vm().once) == (None, None)


def test_a_start_and_a_resume_join_or_pass_while_the_new_guest_starts() -> None:
    story = changed().when(REBOOT, 1).when(stopped()).when(START, 2).then("command.joined")
    story.when(booting(generation=2))
    story.ends(1, OK)
    story.ends(2, OK)
