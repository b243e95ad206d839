"""What follows from the hosts' facts."""

import pytest

from events import subjects
from events.codes import Code
from events.commands import CreateVm, StartVm, StopVm
from events.events import HostRegistered, Outcome, VmReleased
from events.facts import StopCause, VmFact, VmStarting, VmStopping
from events.ids import Generation
from events.machine import MachineFacts
from events.values import Desired, Resources
from services.scheduler.core.decision import NOTHING, Known
from services.scheduler.core.settle import capacity_of, enlist, settle
from tests.support.builders import (
    HOST,
    OTHER_HOST,
    VM,
    a_host,
    booting,
    report,
    running,
    spec,
    start_failed,
    stopped,
)
from tests.unit.scheduler.story import Story, given

START, STOP = StartVm(vm_id=VM), StopVm(vm_id=VM)
RELEASED = ("vm.released", "host.released", "host.vm_desired")
OK, FAILED = Outcome.SUCCEEDED, Outcome.FAILED


def placed() -> Story:
    """A VM placed on the first host by command 1."""
    return given(HostRegistered(host=a_host()), CreateVm(vm_id=VM, spec=spec())).when(START, 1)


@pytest.mark.parametrize("fact", [booting(), running()])
def test_a_start_ends_when_the_guest_runs(fact: VmFact) -> None:
    story = placed().when(START, 2).when(fact).then("command.ended", "command.ended")
    story.ends(1, OK)
    story.ends(2, OK)
    assert story.pending() == []
    story.when(fact).then()


@pytest.mark.parametrize(
    "fact",
    [
        VmStarting(vm_id=VM, host_id=HOST, generation=Generation(1)),
        VmStopping(vm_id=VM, host_id=HOST, generation=Generation(1)),
    ],
)
def test_nothing_follows_from_what_is_on_the_way(fact: VmFact) -> None:
    placed().when(fact).then()


def test_a_stop_ends_and_the_room_is_given_back_when_it_was_seen() -> None:
    story = placed().when(running()).when(STOP, 2).when(stopped())
    story.then(*RELEASED, "command.ended").ends(2, OK)
    vm, host = story.world.vms[VM].value, story.world.host(HOST).value
    assert vm is not None
    assert host is not None
    assert (vm.placement, vm.desired, vm.generation) == (None, Desired.STOPPED, 1)
    assert (host.vms, host.allocated) == (0, Resources(vcpus=0, memory_mib=0))
    assert story.last.guards is not None
    assert story.last.guards.keys() == {subjects.vm_ctl(VM), subjects.host_ctl(HOST)}


def test_a_start_that_the_hypervisor_refused_ends_with_its_words() -> None:
    story = placed().when(start_failed(message="no such image")).then(*RELEASED, "command.ended")
    facts = story.ends(1, FAILED, Code.HYPERVISOR_REFUSED).facts
    assert facts == {"host": "rack-1", "message": "no such image", "failures": [], "elsewhere": []}


def test_a_guest_that_ended_before_it_was_up_fails_its_start() -> None:
    story = placed().when(stopped(cause=StopCause.CRASHED))
    assert story.ends(1, FAILED, Code.GUEST_STOPPED).facts == {"host": "rack-1", "cause": "crashed"}


def test_a_guest_that_went_by_itself_is_released_and_stays_stopped() -> None:
    story = placed().when(running()).when(stopped(cause=StopCause.GUEST)).then(*RELEASED)
    released = story.event("vm.released")
    assert isinstance(released, VmReleased)
    assert released.vm.desired is Desired.STOPPED


@pytest.mark.parametrize("late", [booting(), running(), stopped(), start_failed()])
def test_a_fact_of_an_older_generation_decides_nothing(late: VmFact) -> None:
    placed().when(stopped()).when(START, 2).when(late).then()


@pytest.mark.parametrize("fact", [running(host=OTHER_HOST), stopped(host=OTHER_HOST)])
def test_a_fact_of_a_host_where_the_vm_is_not_placed_decides_nothing(fact: VmFact) -> None:
    placed().when(fact).then()


def test_a_fact_about_a_vm_that_nobody_knows_decides_nothing() -> None:
    given().when(stopped()).then()


def test_nothing_is_released_while_its_hosts_last_word_cannot_be_read() -> None:
    story = placed()
    story.store(subjects.vm_fact(VM, HOST), stopped())
    scene = story.world.scene(VM, None, story.world.fleet.mask([HOST]), ~story.world.fleet.mask([HOST]))
    assert settle(scene) is NOTHING


def test_a_host_joins_with_its_first_report_and_once() -> None:
    decision = enlist(report(), Known(), Resources(vcpus=8, memory_mib=4096))
    assert [change.event.TYPE for change in decision.changes] == ["host.registered"]
    assert decision.guards == {subjects.host_ctl(HOST): 0}
    assert enlist(report(), Known(a_host()), Resources(vcpus=8, memory_mib=4096)) is NOTHING


def test_a_change_of_capacity_keeps_what_is_promised() -> None:
    decision = enlist(report(), Known(a_host(vms=3)), Resources(vcpus=1, memory_mib=100))
    (change,) = decision.changes
    assert change.event.TYPE == "host.capacity_changed"
    assert change.event == change.event.model_copy(
        update={"host": a_host(vcpus=1, memory_mib=100, vms=3), "before": a_host().capacity}
    )


@pytest.mark.parametrize(
    ("cores", "memory_mib", "ratio", "reserve_mib", "capacity"),
    [
        (16, 65536, 4.0, 512, (64, 65024)),
        (3, 400, 1.5, 512, (4, 0)),
        (2**16, 2**31 - 1, 64, 0, (2**22, 2**31 - 1)),
    ],
)
def test_a_host_gives_cores_times_the_ratio_and_memory_less_its_own(
    cores: int, memory_mib: int, ratio: float, reserve_mib: int, capacity: tuple[int, int]
) -> None:
    found = capacity_of(report(cores=cores, memory_mib=memory_mib), ratio, reserve_mib)
    assert (found.vcpus, found.memory_mib) == capacity


def test_what_other_domains_take_no_vm_gets() -> None:
    takes = Resources(vcpus=3, memory_mib=1000)
    told = report(cores=2, memory_mib=4608).model_copy(update={"machine": MachineFacts(foreign_takes=takes)})
    assert capacity_of(told, 4.0, 512) == Resources(vcpus=5, memory_mib=3096)
    assert capacity_of(told, 1.0, 4000) == Resources(vcpus=0, memory_mib=0)
