"""A start of any kind: paused, for one run, on a host of choice; and the disks that it leaves behind."""

from dataclasses import replace

import pytest

from events.codes import Code
from events.commands import CreateVm, DeleteVm, ResumeVm, StartVm, StopVm
from events.events import HostRegistered, Outcome
from events.ids import HostId
from events.spec import BootDevice, Disk, RunOnce
from events.values import Desired
from tests.support.builders import (
    HOST,
    OTHER_HOST,
    VM,
    a_host,
    booting,
    command_id,
    host_id,
    paused,
    running,
    spec,
    start_failed,
    stopped,
    with_disks,
)
from tests.unit.scheduler.story import Story, given

START, STOP, DELETE = StartVm(vm_id=VM), StopVm(vm_id=VM), DeleteVm(vm_id=VM)
ONCE = RunOnce(boot=(BootDevice.CD,), cd="rescue")
OK, FAILED = Outcome.SUCCEEDED, Outcome.FAILED
PLACED = ("vm.placed", "host.reserved", "host.vm_desired")
DATA = Disk(name="data", size_mib=64)


def created() -> Story:
    hosts = (
        HostRegistered(host=a_host()),
        HostRegistered(host=a_host(OTHER_HOST, vcpus=64, memory_mib=65536)),
    )
    return given(*hosts, CreateVm(vm_id=VM, spec=spec().model_copy(update={"disks": (DATA,)})))


def where(story: Story) -> HostId:
    return story.entries()[-1][0]


def test_a_vm_can_start_paused_and_be_resumed() -> None:
    story = created().when(StartVm(vm_id=VM, paused=True), 1).then(*PLACED)
    assert story.entry().desired is Desired.PAUSED
    story.when(booting(host=OTHER_HOST)).ends(1, OK)
    story.when(ResumeVm(vm_id=VM), 2).then("vm.action_requested", "host.vm_desired")
    assert story.entry().desired is Desired.RUNNING


@pytest.mark.parametrize(
    "other",
    [
        StartVm(vm_id=VM, paused=True),
        StartVm(vm_id=VM, once=ONCE),
        StartVm(vm_id=VM, once=RunOnce(host_id=OTHER_HOST)),
    ],
)
def test_a_start_of_another_kind_does_not_join(other: StartVm) -> None:
    for first, second in ((START, other), (other, START)):
        story = created().when(first, 1).when(second, 2)
        facts = story.ends(2, FAILED, Code.WRONG_PHASE).facts
        assert (facts["verb"], facts["phase"]) == ("start", "starting")
        story.when(first, 3).then("command.joined")
        assert story.pending() == [command_id(1), command_id(3)]


def test_a_run_once_goes_where_it_says_though_another_host_is_freer() -> None:
    assert where(created().when(START)) == OTHER_HOST
    story = created().when(StartVm(vm_id=VM, once=RunOnce(host_id=HOST)))
    assert where(story) == HOST


def test_a_run_once_on_a_full_or_silent_host_is_refused_though_others_are_free() -> None:
    full = a_host(host_id(3), memory_mib=64)
    story = created().given(HostRegistered(host=full))
    facts = story.when(StartVm(vm_id=VM, once=RunOnce(host_id=host_id(3))))
    assert [one["host"] for one in facts.ends(1, FAILED, Code.NO_HOST_FITS).facts["refusals"]] == ["rack-3"]
    silent = created().silence(HOST).when(StartVm(vm_id=VM, once=RunOnce(host_id=HOST)))
    silent.ends(1, FAILED, Code.NO_HOST_FITS)


def test_a_run_once_on_a_host_that_nobody_knows_is_refused() -> None:
    story = created().when(StartVm(vm_id=VM, once=RunOnce(host_id=host_id(9))))
    assert story.ends(1, FAILED, Code.NO_SUCH_HOST).facts == {"host": f"host_{host_id(9)}"}
    assert story.vm().placement is None


@pytest.mark.parametrize("end", [stopped, start_failed])
def test_what_holds_for_one_run_is_told_to_the_host_and_gone_with_the_release(end: type) -> None:
    story = created().when(StartVm(vm_id=VM, once=ONCE))
    assert (story.entry().once, story.vm().once) == (ONCE, ONCE)
    story.silence(HOST).when(end(host=OTHER_HOST))
    assert (story.entry().once, story.vm().once) == (None, None)
    assert story.when(START, 2).entry().once is None


def test_disks_that_a_host_made_are_remembered_and_told_to_the_next() -> None:
    story = created().when(START, 1)
    assert story.entry().made_disks == ()
    story.when(with_disks(booting(host=OTHER_HOST), "data"))
    assert story.vm().made_disks == ("data",)
    story.when(STOP, 2).when(with_disks(stopped(host=OTHER_HOST), "data", "image"))
    assert story.vm().made_disks == ("data", "image")
    assert story.when(START, 3).entry().made_disks == ("data", "image")


def test_disks_that_were_made_by_a_start_that_failed_are_remembered() -> None:
    story = created().when(START, 1).when(with_disks(start_failed(host=OTHER_HOST), "data"))
    assert story.vm().made_disks == ("data",)


def ran_and_stopped() -> Story:
    story = created().when(START, 1).when(with_disks(running(host=OTHER_HOST), "data"))
    return story.when(STOP, 2).when(with_disks(stopped(host=OTHER_HOST), "data"))


FORGOTTEN = ("vm.deleted", "command.ended", "claim.released")


def test_a_vm_goes_back_to_the_host_that_has_its_disks_although_it_was_tried_elsewhere() -> None:
    story = ran_and_stopped().silence(OTHER_HOST).when(START, 3)
    assert where(story) == HOST
    story.when(start_failed(host=HOST, generation=2))
    story = replace(story, silent=frozenset()).when(START, 4)
    assert where(story) == OTHER_HOST


def test_a_delete_has_the_last_host_remove_the_disks() -> None:
    story = ran_and_stopped().when(DELETE, 3).then(*FORGOTTEN, "host.vm_desired")
    told = story.entry()
    assert where(story) == OTHER_HOST
    assert (told.desired, told.remove_disks, told.generation) == (Desired.ABSENT, True, 1)
    assert [disk.name for disk in told.spec.disks] == ["data"]
    story.ends(3, OK)


def test_a_delete_that_keeps_the_disks_tells_nobody() -> None:
    ran_and_stopped().when(DeleteVm(vm_id=VM, keep_disks=True), 3).then(*FORGOTTEN)


def test_a_delete_of_what_never_ran_tells_nobody() -> None:
    created().when(DELETE).then(*FORGOTTEN)


def test_a_release_removes_no_disks() -> None:
    story = ran_and_stopped()
    assert (story.entry().desired, story.entry().remove_disks) == (Desired.ABSENT, False)


def test_what_is_paused_for_an_error_before_it_is_up_has_started() -> None:
    story = created().when(StartVm(vm_id=VM, once=RunOnce(host_id=HOST)))
    story.when(paused()).ends(1, OK)
