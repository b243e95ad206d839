"""Where a VM may start by its wishes, and where it would rather."""

import pytest

from events.codes import Code
from events.commands import RebootVm, StopVm, UpdateVm
from events.events import GroupJoined, HostRegistered, Outcome, VmPlaced
from events.machine import MachineFacts
from events.subjects import group_ctl
from services.scheduler.core.weights import Policy
from tests.support.builders import (
    a_host,
    apart,
    booting,
    host_id,
    report,
    running,
    spec,
    start_failed,
    stopped,
    together,
    vm_id,
    wishing,
    with_disks,
)
from tests.unit.scheduler.story import Story, given, refused, start, where

ONE, TWO, THREE = (host_id(number) for number in (1, 2, 3))
ANY = spec("any")


def hosts(*labels: tuple[str, ...], vcpus: int = 8, policy: Policy = Policy.BALANCED) -> Story:
    """As many hosts as there are tuples of labels."""
    story = Story(policy=policy)
    for number, carried in enumerate(labels, 1):
        host = host_id(number)
        told = report(host).model_copy(update={"machine": MachineFacts(labels=carried)})
        story.given(HostRegistered(host=a_host(host, vcpus=vcpus)), told)
    return story


def test_only_a_host_with_the_labels_is_taken_whatever_the_value() -> None:
    story = hosts(("rack=a",), ("rack=b", "ssd"), ("ssd",))
    assert start(story, 1, wishing(ANY, require_labels=("ssd", "rack"))) == TWO
    assert start(story, 2, wishing(ANY, require_labels=("rack=b",))) == TWO
    assert start(story, 3, wishing(ANY, forbid_labels=("ssd",))) == ONE


def test_what_labels_are_wished_and_there_is_said() -> None:
    story = hosts(("rack=a", "ssd"), ())
    assert start(story, 1, wishing(ANY, require_labels=("rack=b",), forbid_labels=("ssd",))) is None
    assert refused(story, 1) == [
        ("rack-1", "label", "rack=b, not ssd", "rack=a, ssd"),
        ("rack-2", "label", "rack=b, not ssd", "no labels"),
    ]


def test_a_host_that_has_not_said_what_it_is_carries_no_label() -> None:
    story = given(HostRegistered(host=a_host(ONE)))
    assert start(story, 1, wishing(ANY, require_labels=("ssd",))) is None
    assert start(story, 2, wishing(ANY, forbid_labels=("ssd",))) == ONE


def test_what_is_pinned_goes_nowhere_else() -> None:
    story = hosts((), (), ())
    assert start(story, 1, wishing(ANY, hosts=(THREE,))) == THREE
    assert start(story, 2, wishing(spec(vcpus=9), hosts=(THREE, host_id(9)))) is None
    needs = f"one of host_{host_id(9)}, rack-3"
    assert refused(story, 2)[:2] == [
        ("rack-1", "pinned", needs, "rack-1"),
        ("rack-2", "pinned", needs, "rack-2"),
    ]


@pytest.mark.parametrize("policy", Policy)
def test_a_host_preferred_is_taken_by_any_policy(policy: Policy) -> None:
    story = hosts((), (), policy=policy)
    start(story, 1, wishing(ANY, hosts=(ONE if policy is Policy.PACKED else TWO,)))
    assert start(story, 2, ANY) == ONE  # else it would be chosen for nothing
    assert start(story, 3, wishing(ANY, prefer_hosts=(TWO, THREE))) == TWO


def test_a_host_preferred_that_cannot_take_it_is_passed_by() -> None:
    story = hosts((), (), vcpus=2)
    start(story, 1, wishing(ANY, hosts=(TWO,)))
    assert start(story, 2, wishing(ANY, prefer_hosts=(TWO,))) == ONE


def test_members_that_are_apart_share_no_host() -> None:
    story = hosts((), ())
    assert {start(story, 1, wishing(ANY, apart())), start(story, 2, wishing(ANY, apart()))} == {ONE, TWO}
    assert start(story, 3, wishing(ANY, apart())) is None
    needs = "no other VM of group db"
    assert refused(story, 3) == [
        ("rack-1", "apart", needs, "1 VM of it"),
        ("rack-2", "apart", needs, "1 VM of it"),
    ]
    assert start(story, 4, wishing(ANY, apart("web"))) is not None


def test_members_that_are_together_share_one_host() -> None:
    story = hosts((), (), vcpus=4)
    first = start(story, 1, wishing(ANY, together()))
    assert start(story, 2, wishing(ANY, together())) == first
    assert start(story, 3, wishing(ANY, together())) is None
    other = f"rack-{2 if first == ONE else 1}"
    needs = "every other VM of group db"
    assert (other, "together", needs, "0 VMs of it, and 2 elsewhere") in refused(story, 3)


def test_what_one_was_promised_holds_against_who_comes_later_and_wishes_less() -> None:
    story = hosts((), ())
    alone = start(story, 1, wishing(ANY, apart()))
    soft = wishing(ANY, together(hard=False))
    assert start(story, 2, soft) != alone
    assert start(story, 3, soft) != alone
    story = hosts((), ())
    tied = start(story, 1, wishing(ANY, together()))
    assert start(story, 2, wishing(ANY, apart(hard=False))) == tied


def test_rules_that_contradict_each_other_leave_no_host() -> None:
    story = hosts((), (), ())
    start(story, 1, wishing(ANY, apart()))
    assert start(story, 2, wishing(ANY, together())) is None
    assert {one[1] for one in refused(story, 2)} == {"apart", "together"}


def test_who_would_be_with_members_that_are_on_two_hosts_is_placed_nowhere() -> None:
    story = hosts((), ())
    for number in (1, 2):
        start(story, number, wishing(ANY, apart(hard=False)))
    assert start(story, 3, wishing(ANY, together())) is None
    assert {one[3] for one in refused(story, 3)} == {"1 VM of it, and 1 elsewhere"}


@pytest.mark.parametrize("policy", Policy)
def test_a_soft_rule_outweighs_any_policy_and_gives_way_to_room(policy: Policy) -> None:
    story = hosts((), (), vcpus=4, policy=policy)
    first = start(story, 1, wishing(ANY, together(hard=False)))
    assert start(story, 2, wishing(ANY, together(hard=False))) == first
    assert start(story, 3, wishing(ANY, together(hard=False))) not in {None, first}
    story = hosts((), (), vcpus=4, policy=policy)
    first = start(story, 1, wishing(ANY, apart(hard=False)))
    assert start(story, 2, wishing(ANY, apart(hard=False))) not in {None, first}
    assert start(story, 3, wishing(ANY, apart(hard=False))) is not None


def test_a_host_preferred_comes_before_a_soft_rule() -> None:
    story = hosts((), ())
    start(story, 1, wishing(ANY, apart(), hosts=(TWO,)))
    start(story, 2, wishing(ANY, apart("web"), hosts=(ONE,)))
    assert start(story, 3, wishing(ANY, apart("cache", hard=False), prefer_hosts=(TWO,))) == TWO
    assert start(story, 4, wishing(ANY, apart("cache", hard=False), prefer_hosts=(TWO,))) == TWO


def test_a_placement_joins_its_groups_under_their_guards() -> None:
    story = hosts(())
    start(story, 1, wishing(ANY, apart("db"), together("app", hard=False)))
    placed, _, _, *joined = [change.event for change in story.last.changes]
    assert isinstance(placed, VmPlaced)
    assert joined == [GroupJoined(group=name, vm_id=vm_id(1), host_id=ONE) for name in ("db", "app")]
    guards = story.last.guards or {}
    assert (guards[group_ctl("db")], guards[group_ctl("app")]) == (0, 0)
    seq = len(story.stored)
    start(story, 2, wishing(ANY, together("app", hard=False)))
    assert (story.last.guards or {})[group_ctl("app")] == seq


def test_who_stopped_or_could_not_start_is_in_nobodys_way() -> None:
    story = hosts(())
    start(story, 1, wishing(ANY, apart()))
    story.when(start_failed(vm_id(1), ONE))
    assert start(story, 2, wishing(ANY, apart())) == ONE
    story.given(running(vm_id(2), ONE), StopVm(vm_id=vm_id(2), grace_s=1)).when(stopped(vm_id(2), ONE))
    assert start(story, 3, wishing(ANY, apart())) == ONE


def test_a_start_that_failed_is_tried_where_the_rules_allow() -> None:
    story = hosts((), (), ())
    taken = start(story, 1, wishing(ANY, apart()))
    first = start(story, 2, wishing(ANY, apart()))
    assert first is not None
    story.when(start_failed(vm_id(2), first))
    assert where(story, vm_id(2)) not in {None, first, taken}


def test_other_wishes_wait_for_the_next_placement_and_the_old_promise_holds_until_then() -> None:
    story = hosts(())
    start(story, 1, wishing(ANY, apart()))
    story.given(running(vm_id(1), ONE))
    story.when(UpdateVm(vm_id=vm_id(1), patch={"placement": {"groups": []}}), number=5)
    facts = story.ends(5, Outcome.SUCCEEDED).facts
    assert (facts["live"], facts["pending"]) == ((), ("placement",))
    assert start(story, 2, wishing(ANY, apart())) is None
    story.given(RebootVm(vm_id=vm_id(1), grace_s=1)).when(stopped(vm_id(1), ONE))
    assert where(story, vm_id(1)) == ONE
    assert start(story, 3, wishing(ANY, apart())) == ONE


def test_a_cold_reboot_is_a_new_placement_and_goes_where_it_may_be_now() -> None:
    story = hosts((), ("ssd",))
    start(story, 1, wishing(ANY, apart(), hosts=(ONE,)))
    story.given(running(vm_id(1), ONE))
    patch = {"placement": {"hosts": [], "require_labels": ["ssd"]}}
    story.given(UpdateVm(vm_id=vm_id(1), patch=patch), RebootVm(vm_id=vm_id(1), grace_s=1))
    story.when(stopped(vm_id(1), ONE))
    assert where(story, vm_id(1)) == TWO


def test_where_its_disks_are_a_cold_reboot_that_may_not_be_there_is_refused_before_it_stops() -> None:
    story = hosts((), ("ssd",))
    start(story, 1, wishing(ANY, hosts=(ONE,)))
    story.when(with_disks(booting(vm_id(1), ONE), "image"))
    patch = {"placement": {"hosts": [], "require_labels": ["ssd"]}}
    story.given(UpdateVm(vm_id=vm_id(1), patch=patch)).when(RebootVm(vm_id=vm_id(1), grace_s=1), number=7)
    (said,) = story.ends(7, Outcome.FAILED, Code.NO_HOST_FITS).facts["refusals"]
    assert (said["host"], said["filter"], said["has"]) == ("rack-1", "label", "no labels")
    assert where(story, vm_id(1)) == ONE
