"""What the scheduler knows is the last word on each subject, whatever comes late; what is supposed can go."""

from events import subjects
from events.events import (
    ClaimTaken,
    HostRegistered,
    HostReserved,
    ReleaseCause,
    VmCreated,
    VmPlaced,
    VmReleased,
)
from events.ids import Seq
from events.machine import MachineFacts
from events.values import Resources
from services.scheduler.core.packing import Shape
from services.scheduler.core.world import World
from tests.support.builders import HOST, VM, a_host, a_vm, placement, report, spec

CTL, FACT = (
    subjects.parse_event(subjects.host_ctl(HOST)),
    subjects.parse_event(subjects.host_fact(HOST)),
)
OF_VM = subjects.parse_event(subjects.vm_ctl(VM))
CLAIM = subjects.parse_event(subjects.name_claim("web"))


def networks(world: World) -> tuple[str, ...] | None:
    view = world.fleet.get(HOST)
    assert view is not None
    assert view.report is not None
    return view.report.machine.networks if view.report.machine is not None else None


def test_an_older_report_that_comes_late_changes_nothing() -> None:
    world = World()
    world.fold(CTL, Seq(1), HostRegistered(host=a_host()))
    for seq, name in ((3, "br1"), (2, "br0")):
        machine = MachineFacts(networks=(name,))
        world.fold(FACT, Seq(seq), report().model_copy(update={"machine": machine}))
    assert networks(world) == ("br1",)


def test_a_report_is_kept_for_a_host_that_joins_later() -> None:
    world = World()
    world.fold(FACT, Seq(1), report().model_copy(update={"machine": MachineFacts(networks=("br0",))}))
    world.fold(CTL, Seq(2), HostRegistered(host=a_host()))
    assert networks(world) == ("br0",)


def test_what_is_supposed_is_seen_under_the_old_sequence_and_can_be_taken_back() -> None:
    world = World()
    world.fold(CTL, Seq(1), HostRegistered(host=a_host()))
    reserved = HostReserved(host=a_host(vms=1), vm_id=VM, resources=Resources(vcpus=2, memory_mib=512))
    undo = [
        world.suppose(CTL, reserved),
        world.suppose(OF_VM, VmCreated(vm=a_vm())),
        world.suppose(CLAIM, ClaimTaken(kind=subjects.VM_NAME, value="web", owner=VM)),
    ]
    assert (world.host(HOST).seq, world.host(HOST).value) == (1, a_host(vms=1))
    assert world.vms[VM].seq == 0
    for take_back in reversed(undo):
        take_back()
    assert (world.host(HOST).value, world.vms, world.claims) == (a_host(), {}, {})


def test_what_others_have_stored_meanwhile_is_not_taken_back() -> None:
    world = World()
    world.fold(CTL, Seq(1), HostRegistered(host=a_host()))
    supposed = HostReserved(host=a_host(vms=1), vm_id=VM, resources=Resources(vcpus=2, memory_mib=512))
    undo = [world.suppose(CTL, supposed), world.suppose(OF_VM, VmCreated(vm=a_vm()))]
    world.fold(CTL, Seq(2), HostRegistered(host=a_host(vms=3)))
    world.fold(OF_VM, Seq(3), VmCreated(vm=a_vm(grace_s=5)))
    for take_back in undo:
        take_back()
    assert (world.host(HOST).seq, world.host(HOST).value) == (2, a_host(vms=3))
    assert world.vms[VM].value == a_vm(grace_s=5)


def test_what_is_placed_is_counted_as_long_as_it_is() -> None:
    world, takes = World(), spec().needs
    shape, placed = Shape(takes.vcpus, takes.memory_mib), a_vm(placed=placement())
    event = VmPlaced(vm=placed, placement=placement(), considered=1)
    take_back = world.suppose(OF_VM, event)
    assert world.fleet.ranks.placed == {shape: 1}
    take_back()
    assert world.fleet.ranks.placed == {}
    world.fold(OF_VM, Seq(1), event)
    world.fold(OF_VM, Seq(1), event)
    assert world.fleet.ranks.placed == {shape: 1}
    world.fold(OF_VM, Seq(2), VmReleased(vm=a_vm(), placement=placement(), cause=ReleaseCause.STOPPED))
    assert world.fleet.ranks.placed == {}
