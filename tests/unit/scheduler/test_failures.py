"""A host that fails at every start does not draw them all."""

from itertools import permutations

from events import subjects
from events.events import HostRegistered
from events.facts import VmFact
from events.ids import HostId, Seq, VmId
from services.scheduler.core.failures import AVOIDED_FOR
from services.scheduler.core.world import World
from tests.support.builders import (
    a_host,
    booting,
    host_id,
    running,
    spec,
    start_failed,
    vm_id,
    wishing,
)
from tests.unit.scheduler.story import Story, given, start

ONE, TWO = host_id(1), host_id(2)
A, B, C = (vm_id(number) for number in (91, 92, 93))


def two_hosts() -> Story:
    """The first has most left, and is the best for any VM."""
    first, second = a_host(ONE, vcpus=16), a_host(TWO, vcpus=8)
    return given(HostRegistered(host=first), HostRegistered(host=second))


def test_one_failure_may_be_the_vms_own_fault() -> None:
    story = two_hosts().given(start_failed(A, ONE))
    assert start(story, 1, spec()) == ONE


def test_after_two_vms_in_a_row_another_host_is_taken() -> None:
    story = two_hosts().given(start_failed(A, ONE), start_failed(B, ONE))
    assert start(story, 1, spec()) == TWO
    assert start(story, 2, wishing(spec(), prefer_hosts=(ONE,))) == TWO
    assert start(story, 3, spec("big", vcpus=12)) == ONE, "no other will do"


def test_the_same_vm_twice_is_one() -> None:
    story = two_hosts().given(start_failed(A, ONE), start_failed(A, ONE, generation=2))
    assert start(story, 1, spec()) == ONE


def test_a_start_that_comes_true_ends_it() -> None:
    story = two_hosts().given(start_failed(A, ONE), start_failed(B, ONE), booting(C, ONE))
    assert start(story, 1, spec()) == ONE


def test_it_ends_by_itself() -> None:
    story = two_hosts().given(start_failed(A, ONE), start_failed(B, ONE))
    for _ in range(AVOIDED_FOR - 1):
        story.given(running(C, TWO))
    assert start(story, 1, spec()) == TWO
    story.given(running(C, TWO))
    assert start(story, 2, spec()) == ONE


def test_whoever_reads_last_words_alone_in_any_order_avoids_the_same() -> None:
    said: list[VmFact] = [
        start_failed(A, ONE),
        booting(B, ONE),
        start_failed(C, ONE),
        start_failed(B, ONE, generation=2),
        start_failed(A, TWO),
    ]
    last = {(one.vm_id, one.host_id): (Seq(number), one) for number, one in enumerate(said, 10)}
    assert avoided([(Seq(number), one) for number, one in enumerate(said, 10)]) == {ONE}
    for order in permutations(last.values()):
        assert avoided(list(order)) == {ONE}


def avoided(said: list[tuple[Seq, VmFact]]) -> set[HostId]:
    world = World()
    for number, host in enumerate((ONE, TWO), 1):
        ctl = subjects.parse_event(subjects.host_ctl(host))
        world.fold(ctl, Seq(number), HostRegistered(host=a_host(host)))
    for seq, one in said:
        subject = subjects.parse_event(subjects.vm_fact(VmId(one.vm_id), one.host_id))
        world.fold(subject, seq, one)
    mask = world.failures.avoided(world.fleet)
    found = zip(world.fleet, mask if mask is not None else world.fleet.mask([]), strict=True)
    return {view.host.host_id for view, avoid in found if avoid}
