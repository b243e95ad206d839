"""Who of a group is where, as VMs are placed and released, and as what is only supposed is taken back."""

from collections.abc import Callable

from events import subjects
from events.events import HostRegistered, VmPlaced, VmReleased
from events.ids import HostId, Seq, VmId
from events.spec import VmSpec
from events.values import Desired
from events.vm import Vm
from events.wishes import GroupWish
from services.scheduler.core.groups import ARRAYS_MAX
from services.scheduler.core.world import World
from tests.support.builders import (
    HOST,
    OTHER_HOST,
    a_host,
    apart,
    host_id,
    placement,
    spec,
    together,
    vm_id,
    wishing,
)

NOBODY = vm_id(99)


def a_world(*hosts: HostId) -> World:
    world = World()
    for seq, host in enumerate(hosts or (HOST, OTHER_HOST), 1):
        world.fold(subjects.parse_event(subjects.host_ctl(host)), Seq(seq), HostRegistered(host=a_host(host)))
    return world


def a_member(number: int, host: HostId | None, *wishes: GroupWish, running: VmSpec | None = None) -> Vm:
    return Vm(
        vm_id=vm_id(number),
        spec=wishing(spec(f"vm-{number}"), *wishes),
        desired=Desired.RUNNING,
        placement=placement(host) if host is not None else None,
        running=running,
    )


def ctl(vm: VmId) -> subjects.EventSubject:
    return subjects.parse_event(subjects.vm_ctl(vm))


def placed(vm: Vm) -> VmPlaced:
    assert vm.placement is not None
    return VmPlaced(vm=vm, placement=vm.placement, considered=1)


def released(vm: Vm) -> VmReleased:
    gone = vm.model_copy(update={"placement": None, "running": None})
    return VmReleased(vm=gone, placement=placement(HOST), cause="stopped")


def seen(world: World, vm: VmId = NOBODY, name: str = "db") -> tuple[int, list[int], list[int], list[int]]:
    """How many others there are for *vm*, and on each host: all, those alone, those tied."""
    found = world.groups.others(vm, apart(name))
    if found is None:
        return 0, [], [], []
    return found.total, found.here.tolist(), found.alone.tolist(), found.tied.tolist()


def test_members_are_counted_by_what_they_were_promised() -> None:
    world = a_world()
    members = [
        a_member(1, HOST, apart()),
        a_member(2, OTHER_HOST, together()),
        a_member(3, OTHER_HOST, apart(hard=False)),
    ]
    for seq, vm in enumerate(members, 10):
        world.fold(ctl(vm.vm_id), Seq(seq), placed(vm))
    assert seen(world) == (3, [1, 2], [1, 0], [0, 1])
    assert seen(world, vm_id(2)) == (2, [1, 1], [1, 0], [0, 0])
    world.fold(ctl(vm_id(1)), Seq(20), released(members[0]))
    assert seen(world) == (2, [0, 2], [0, 0], [0, 1])


def test_what_a_vm_runs_as_counts_not_what_it_shall_be() -> None:
    world = a_world()
    vm = a_member(1, HOST, apart("web"), running=wishing(spec(), apart("db")))
    world.fold(ctl(vm.vm_id), Seq(10), placed(vm))
    assert (seen(world)[0], seen(world, name="web")[0]) == (1, 0)


def test_what_is_supposed_counts_until_it_is_taken_back() -> None:
    world, one, two = a_world(), a_member(1, HOST, apart()), a_member(2, OTHER_HOST, apart())
    world.fold(ctl(one.vm_id), Seq(10), placed(one))
    assert seen(world) == (1, [1, 0], [1, 0], [0, 0])
    undo: list[Callable[[], None]] = [
        world.suppose(ctl(one.vm_id), released(one)),
        world.suppose(ctl(two.vm_id), placed(two)),
    ]
    assert seen(world) == (1, [0, 1], [0, 1], [0, 0])
    for take_back in reversed(undo):
        take_back()
    assert seen(world) == (1, [1, 0], [1, 0], [0, 0])


def test_what_others_have_stored_meanwhile_stays() -> None:
    world, vm = a_world(), a_member(1, HOST, apart())
    take_back = world.suppose(ctl(vm.vm_id), placed(vm))
    world.fold(ctl(vm.vm_id), Seq(10), placed(a_member(1, OTHER_HOST, apart())))
    take_back()
    assert seen(world) == (1, [0, 1], [0, 1], [0, 0])


def test_a_host_that_joins_moves_the_others_and_takes_no_member_with_it() -> None:
    world, vm = a_world(), a_member(1, HOST, apart())
    world.fold(ctl(vm.vm_id), Seq(10), placed(vm))
    assert seen(world)[1] == [1, 0]
    first = host_id(0)
    world.fold(subjects.parse_event(subjects.host_ctl(first)), Seq(11), HostRegistered(host=a_host(first)))
    assert seen(world)[1] == [0, 1, 0]


def test_a_member_on_a_host_that_nobody_knows_is_nowhere_that_can_be_chosen() -> None:
    world, vm = a_world(), a_member(1, host_id(9), together())
    world.fold(ctl(vm.vm_id), Seq(10), placed(vm))
    assert seen(world) == (1, [0, 0], [0, 0], [0, 0])


def test_arrays_of_ever_new_groups_do_not_pile_up() -> None:
    world = a_world()
    for number in range(100, 100 + ARRAYS_MAX + 5):
        vm = a_member(number, HOST, apart(f"g{number}"))
        world.fold(ctl(vm.vm_id), Seq(10 + number), placed(vm))
        assert seen(world, name=f"g{number}")[1] == [1, 0]
    assert len(world.groups._arrays) <= ARRAYS_MAX
