"""Room is kept for the highly available VMs of any host that fails; a start that needs it is refused."""

from math import comb

from hypothesis import given as for_any
from hypothesis import settings
from hypothesis import strategies as st

from events.codes import Code
from events.commands import StartVm, StopVm, UpdateVm
from events.events import HostCapacityChanged, HostRegistered, Outcome, VmPlaced
from events.ids import HostId
from events.machine import MachineFacts, Storage
from events.spec import VmSpec
from events.values import Resources
from services.scheduler.core.failover import Admission
from services.scheduler.core.world import World
from tests.support.builders import (
    a_host,
    apart,
    booting,
    having_done,
    host_id,
    report,
    running,
    spec,
    stopped,
    together,
    vm_id,
    wishing,
    with_disks,
)
from tests.unit.scheduler.packs import Size, bearable, is_borne
from tests.unit.scheduler.story import Story, refused, start

ONE, TWO, THREE = (host_id(number) for number in (1, 2, 3))
MEMORY = 32768
PLENTY = 100


def hosts(*vcpus: int, tolerates: int = 1, admission: Admission = Admission.REFUSE) -> Story:
    """As many hosts as there are numbers of vCPUs; memory is scarce on none."""
    world = World(failures_tolerated=tolerates, admission=admission)
    return join(Story(world=world), *vcpus)


def join(story: Story, *vcpus: int) -> Story:
    for number, has in enumerate(vcpus, len(story.world.fleet) + 1):
        host = a_host(host_id(number), vcpus=has, memory_mib=MEMORY)
        story.given(HostRegistered(host=host), report(host_id(number)))
    return story


def wanting(vcpus: int, *, ha: bool = True) -> VmSpec:
    return spec("any", vcpus).model_copy(update={"highly_available": ha})


def stop(story: Story, number: int) -> None:
    placed = story.vm(vm_id(number)).placement
    assert placed is not None
    at = (vm_id(number), placed.host_id, placed.generation)
    story.given(booting(*at), StopVm(vm_id=vm_id(number), grace_s=0)).when(stopped(*at))


def test_a_start_that_leaves_no_room_for_those_of_a_failed_host_is_refused_with_their_host() -> None:
    story = hosts(8, 8)
    assert [start(story, 1, wanting(4)), start(story, 2, wanting(4))] == [ONE, TWO]
    assert start(story, 3, wanting(1, ha=False)) is None
    needs = "room elsewhere for the highly available VMs of {}, should it fail"
    assert refused(story, 3) == [
        ("rack-1", "failover", needs.format("rack-2"), "not enough"),
        ("rack-2", "failover", needs.format("rack-1"), "not enough"),
    ]
    assert story.ends(903, Outcome.FAILED, Code.NO_HOST_FITS).facts["refused"] == {"failover": 2}


def test_a_vm_that_has_nowhere_else_to_go_is_not_started_and_is_so_without_protection() -> None:
    story = hosts(8, 2)
    assert start(story, 1, wanting(4)) is None
    assert [(one[0], one[1]) for one in refused(story, 1)] == [("rack-1", "failover"), ("rack-2", "vcpus")]
    assert start(story, 2, wanting(4, ha=False)) == ONE


def test_only_asked_to_warn_it_starts_and_says_who_is_exposed() -> None:
    story = hosts(8, 8, admission=Admission.WARN)
    assert [start(story, 1, wanting(4)), start(story, 2, wanting(4))] == [ONE, TWO]
    assert start(story, 3, wanting(1, ha=False)) == ONE
    placed = story.event("vm.placed")
    assert isinstance(placed, VmPlaced)
    assert placed.exposes == "rack-2"
    assert story.world.failover is not None
    story.world.failover.settle(PLENTY)
    assert story.world.failover.broken == {TWO}


def test_with_nothing_tolerated_nothing_is_kept() -> None:
    story = hosts(8, 8, tolerates=0)
    assert [start(story, number, wanting(8)) for number in (1, 2)] == [ONE, TWO]


def test_sums_that_fit_are_not_taken_for_room() -> None:
    story = hosts(6, 4, 4)
    assert [start(story, number, wanting(3), on=ONE) for number in (1, 2)] == [ONE, ONE]
    # Six vCPUs would be left for the six of rack-1: four on one host, and two on the other, too few for 3.
    assert start(story, 3, wanting(2, ha=False)) is None
    assert [(one[0], one[1]) for one in refused(story, 3)] == [
        ("rack-1", "vcpus"),
        ("rack-2", "failover"),
        ("rack-3", "failover"),
    ]
    assert start(story, 4, wanting(1, ha=False)) is not None


def test_what_is_kept_is_left_alone_while_there_is_other_room() -> None:
    story = hosts(8, 8, 8)
    assert start(story, 1, wanting(8), on=THREE) == THREE
    assert [start(story, number, wanting(2, ha=False)) for number in (2, 3, 4)] == [TWO, TWO, TWO]


def test_what_is_kept_moves_before_a_start_is_refused() -> None:
    story = hosts(8, 8, 6)
    assert start(story, 1, wanting(6), on=THREE) == THREE
    assert start(story, 2, wanting(4, ha=False), on=ONE) == ONE
    assert start(story, 3, wanting(4, ha=False), on=TWO) is None


def test_where_its_disks_are_it_stays_though_what_is_kept_has_to_move() -> None:
    story = hosts(8, 8, 8)
    assert start(story, 1, wanting(4, ha=False), on=ONE) == ONE
    at = (vm_id(1), ONE)
    story.given(with_disks(booting(*at), "image"), StopVm(vm_id=vm_id(1), grace_s=0))
    story.when(with_disks(stopped(*at), "image"))
    assert start(story, 2, wanting(8), on=THREE) == THREE
    story.when(StartVm(vm_id=vm_id(1)), number=77)
    again = story.vm(vm_id(1)).placement
    assert again is not None
    assert again.host_id == ONE


def test_room_that_comes_back_is_seen() -> None:
    story = hosts(8, 8)
    assert [start(story, 1, wanting(4)), start(story, 2, wanting(4))] == [ONE, TWO]
    assert start(story, 3, wanting(1, ha=False)) is None
    stop(story, 2)
    assert start(story, 4, wanting(4, ha=False)) is not None


def test_a_host_that_joins_brings_room() -> None:
    story = hosts(8, 8)
    assert [start(story, 1, wanting(4)), start(story, 2, wanting(4))] == [ONE, TWO]
    assert start(story, 3, wanting(4)) is None
    join(story, 8)
    assert start(story, 4, wanting(4)) is not None


def test_a_vm_is_protected_as_it_runs_once_its_host_has_taken_that_over() -> None:
    story = hosts(8, 8)
    assert start(story, 1, wanting(8, ha=False), on=ONE) == ONE
    story.given(running(vm_id(1), ONE))
    story.when(UpdateVm(vm_id=vm_id(1), patch={"highly_available": True}), 5)
    assert start(story, 2, wanting(1, ha=False), on=TWO) == TWO, "it runs as it was started, yet"
    stop(story, 2)
    story.when(having_done(running(vm_id(1), ONE), 5))
    assert start(story, 3, wanting(1, ha=False), on=TWO) is None
    assert [(one[0], one[1]) for one in refused(story, 3)] == [("rack-2", "failover")]


def test_of_groups_that_nobody_is_in_any_more_nothing_is_kept() -> None:
    story = hosts(8, 8)
    assert start(story, 1, wishing(wanting(1), apart("db"))) == ONE
    assert start(story, 2, wishing(wanting(1, ha=False), apart("web"))) is not None
    failover = story.world.failover
    assert failover is not None
    assert failover._grouped == {"db": {ONE: 1}}
    stop(story, 1)
    assert failover._grouped == {}


def test_a_failure_that_cannot_be_borne_anyway_refuses_nobody_else() -> None:
    story = hosts(8, 8)
    assert [start(story, 1, wanting(4)), start(story, 2, wanting(4))] == [ONE, TWO]
    before = a_host(ONE, vcpus=8, memory_mib=MEMORY)
    less = story.world.host(ONE).value
    assert less is not None
    shrunk = less.model_copy(update={"capacity": Resources(vcpus=6, memory_mib=MEMORY)})
    story.given(HostCapacityChanged(host=shrunk, before=before.capacity))
    # rack-2's VM has no place any more. That of rack-1 has, if nobody takes it.
    assert start(story, 3, wanting(1, ha=False)) == ONE
    assert start(story, 4, wanting(1)) is None


def test_hosts_that_its_wishes_leave_out_are_no_place_for_it() -> None:
    story = hosts(8, 8, 8)
    told = report(ONE).model_copy(update={"machine": MachineFacts(labels=("ssd",))})
    story.given(told)
    wanted = wishing(wanting(2), require_labels=("ssd",))
    assert start(story, 1, wanted) is None
    story.given(told.model_copy(update={"host_id": TWO, "name": "rack-2"}))
    assert start(story, 2, wanted) in {ONE, TWO}


def test_plans_are_made_anew_for_what_they_read_and_nothing_else() -> None:
    story = hosts(8, 8)
    assert start(story, 1, wanting(4)) == ONE
    failover = story.world.failover
    assert failover is not None
    failover.settle(PLENTY)
    told = report(TWO)
    for free in (100, 50):
        disk = Storage(name="main", path="/disks", total_mib=100, free_mib=free, writable=True)
        story.given(told.model_copy(update={"machine": MachineFacts(storages=(disk,))}))
        assert failover.unready == (free == 100), "the first time a storage came, the second time it filled"
        failover.settle(PLENTY)


def test_those_that_are_apart_find_hosts_of_their_own() -> None:
    story = hosts(8, 8)
    assert start(story, 1, wishing(wanting(1), apart())) is not None
    assert start(story, 2, wishing(wanting(1), apart())) is None, "should either fail, they would meet"
    join(story, 8)
    assert start(story, 3, wishing(wanting(1), apart())) is not None


def test_who_comes_to_be_apart_leaves_the_others_a_place() -> None:
    story = hosts(8, 8, 8)
    alone, plain = wishing(wanting(1), apart()), wishing(wanting(1, ha=False), apart())
    assert start(story, 1, alone, on=ONE) == ONE
    assert start(story, 2, plain, on=TWO) == TWO, "the first may still go to rack-3"
    assert start(story, 3, plain, on=THREE) is None
    assert [(one[0], one[1]) for one in refused(story, 3)] == [("rack-3", "failover")]
    assert start(story, 4, wanting(8, ha=False), on=THREE) is None, "what is kept there is all there is"
    stop(story, 2)
    assert start(story, 5, plain, on=THREE) == THREE


def test_those_that_are_together_go_together() -> None:
    story = hosts(9, 4, 4)
    assert start(story, 1, wishing(wanting(2), together())) == ONE
    assert start(story, 2, wishing(wanting(2), together())) == ONE
    assert start(story, 3, wishing(wanting(2), together())) is None, "no other host takes six"
    assert start(story, 4, wanting(2)) is not None, "by itself it has a place"


def test_the_more_are_tolerated_the_fewer_start() -> None:
    counts = []
    for tolerates in (1, 2, 3):
        story = hosts(4, 4, 4, 4, tolerates=tolerates)
        started = [start(story, number, wanting(2)) for number in range(1, 9)]
        counts.append(sum(host is not None for host in started))
        assert len(bearable(story, tolerates)) == comb(4, tolerates)
    assert counts == [6, 4, 2]


changes = st.lists(
    st.one_of(
        st.tuples(st.just("start"), st.integers(1, 5), st.booleans()),
        st.tuples(st.just("stop"), st.integers(0, 9), st.booleans()),
        st.tuples(st.just("join"), st.integers(2, 8), st.booleans()),
    ),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@for_any(st.lists(st.integers(2, 8), min_size=2, max_size=4), changes, st.integers(1, 2))
def test_after_every_start_the_failures_that_could_be_borne_still_can_be(
    sizes: list[int], steps: list[tuple[str, int, bool]], tolerates: int
) -> None:
    story, up = hosts(*sizes, tolerates=tolerates), list[int]()
    for number, (step, size, ha) in enumerate(steps, 1):
        before = bearable(story, tolerates)
        match step:
            case "join" if len(story.world.fleet) < 6:
                join(story, size)
            case "stop" if up:
                stop(story, up.pop(size % len(up)))
            case "start":
                if start(story, number, wanting(size, ha=ha)) is not None:
                    up.append(number)
                elif tolerates == 1:
                    breaks_everywhere(story, wanting(size, ha=ha), before)
        assert bearable(story, tolerates) >= before


def breaks_everywhere(story: Story, wanted: VmSpec, before: set[frozenset[HostId]]) -> None:
    """See that wherever it went, the failure of some host could be borne before and could not be then."""
    for view in story.world.fleet:
        if view.host.free.vcpus < wanted.needs.vcpus:
            continue
        host = view.host.host_id
        taken: dict[HostId, Size] = {host: (wanted.needs.vcpus, wanted.needs.memory_mib)}
        mine = [taken[host]] if wanted.highly_available else []
        still = {
            failed for failed in before if is_borne(story, set(failed), taken, mine if host in failed else [])
        }
        exposed = wanted.highly_available and not is_borne(story, {host}, taken, mine)
        assert still != before or exposed, f"{view.host.name} could have taken it"
