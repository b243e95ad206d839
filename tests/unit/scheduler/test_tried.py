"""A host that cannot start a VM is passed by, and another is tried, three in all."""

from events.codes import Code
from events.commands import CreateVm, StartVm, StopVm
from events.events import HostRegistered, Outcome
from events.ids import HostId
from events.spec import RunOnce
from tests.support.builders import VM, a_host, booting, host_id, spec, start_failed, with_disks
from tests.unit.scheduler.story import Story, given

START = StartVm(vm_id=VM)
AGAIN = ("vm.released", "host.released", "host.vm_desired", "vm.placed", "host.reserved", "host.vm_desired")
GIVEN_UP = ("vm.released", "host.released", "host.vm_desired", "command.ended")


def created(hosts: int) -> Story:
    joined = [HostRegistered(host=a_host(host_id(number))) for number in range(1, hosts + 1)]
    return given(*joined, CreateVm(vm_id=VM, spec=spec()))


def where(story: Story) -> HostId:
    return story.entries()[-1][0]


def fail(story: Story, message: str = "no", **disks: str) -> Story:
    fact = start_failed(host=where(story), generation=story.vm().generation, message=message)
    return story.when(with_disks(fact, *disks.values()))


def test_another_host_is_tried_in_the_same_batch() -> None:
    story = fail(created(2).when(START)).then(*AGAIN)
    assert (where(story), story.vm().generation) == (host_id(2), 2)
    story.when(booting(host=host_id(2), generation=2)).ends(1, Outcome.SUCCEEDED)


def test_after_three_the_start_has_failed_with_what_each_said() -> None:
    story = created(5).when(START)
    for message in ("first", "second"):
        fail(story, message).then(*AGAIN)
    facts = fail(story, "third").then(*GIVEN_UP).ends(1, Outcome.FAILED, Code.HYPERVISOR_REFUSED).facts
    assert (facts["host"], facts["message"]) == ("rack-3", "third")
    assert [(one["host"], one["message"]) for one in facts["elsewhere"]] == [
        ("rack-1", "first"),
        ("rack-2", "second"),
    ]


def test_where_no_other_host_is_left_the_last_words_are_given() -> None:
    story = created(2).when(START)
    fail(fail(story, "first"), "second").then(*GIVEN_UP)
    facts = story.ends(1, Outcome.FAILED, Code.HYPERVISOR_REFUSED).facts
    assert (facts["message"], [one["message"] for one in facts["elsewhere"]]) == ("second", ["first"])


def test_a_later_start_tries_all_hosts_anew() -> None:
    story = created(1).when(START)
    fail(story).then(*GIVEN_UP)
    story.when(START, 2).then("vm.placed", "host.reserved", "host.vm_desired")


def test_all_starts_that_wait_for_it_go_along() -> None:
    story = created(2).when(START).when(START, 2)
    fail(story).then(*AGAIN)
    story.when(booting(host=host_id(2), generation=2))
    for number in (1, 2):
        story.ends(number, Outcome.SUCCEEDED)


def test_a_start_that_was_to_be_stopped_is_not_tried_elsewhere() -> None:
    story = created(2).when(START).when(StopVm(vm_id=VM), 2)
    fail(story).then(*GIVEN_UP).ends(2, Outcome.SUCCEEDED)


def test_a_start_on_one_host_alone_is_not_tried_elsewhere() -> None:
    story = created(2).when(StartVm(vm_id=VM, once=RunOnce(host_id=host_id(1))))
    fail(story).then(*GIVEN_UP)


def test_what_holds_for_one_run_holds_elsewhere() -> None:
    once = RunOnce(cd="rescue")
    story = fail(created(2).when(StartVm(vm_id=VM, paused=True, once=once))).then(*AGAIN)
    assert (story.entry().once, story.entry().desired) == (once, "paused")


def test_a_vm_whose_disks_were_made_stays_with_them() -> None:
    wanted = spec()
    story = created(2).when(START)
    fail(story, image="image").then(*GIVEN_UP)
    assert story.vm().made_disks == ("image",)
    assert story.vm().spec == wanted


def test_who_joins_a_start_that_was_tried_elsewhere_does_not_begin_anew() -> None:
    story = fail(fail(created(5).when(START), "first"), "second").when(START, 2)
    facts = (
        fail(story, "third")
        .then(*GIVEN_UP, "command.ended")
        .ends(2, Outcome.FAILED, Code.HYPERVISOR_REFUSED)
        .facts
    )
    assert [one["message"] for one in facts["elsewhere"]] == ["first", "second"]
