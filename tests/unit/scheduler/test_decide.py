"""What each command leads to, whatever the VM is doing."""

import pytest

from events import subjects
from events.codes import Code
from events.commands import Command, CreateVm, DeleteVm, StartVm, StopVm
from events.events import CommandEnded, HostRegistered, HostReserved, Outcome, VmCreated, VmPlaced
from events.facts import VmFact
from events.ids import Generation
from events.values import Desired, Resources
from events.vm import PENDING_MAX
from tests.support.builders import (
    HOST,
    OTHER_HOST,
    VM,
    a_host,
    a_vm,
    booting,
    command_id,
    host_id,
    placement,
    running,
    spec,
    start_failed,
    stopped,
    vm_id,
)
from tests.unit.scheduler.story import Story, given

CREATE, START, STOP, DELETE = (
    CreateVm(vm_id=VM, spec=spec()),
    StartVm(vm_id=VM),
    StopVm(vm_id=VM),
    DeleteVm(vm_id=VM),
)
HOSTS = (HostRegistered(host=a_host()),)
ENDED = ("command.ended",)
PLACED = ("vm.placed", "host.reserved", "host.vm_desired")
RELEASED = ("vm.released", "host.released", "host.vm_desired")
FORGOTTEN = ("vm.deleted", "command.ended", "claim.released")
OK, FAILED = Outcome.SUCCEEDED, Outcome.FAILED


def nowhere() -> Story:
    return given(*HOSTS)


def created() -> Story:
    return given(*HOSTS, CREATE)


def started(*facts: VmFact) -> Story:
    return given(*HOSTS, CREATE, START, *facts)


def stopping() -> Story:
    return given(*HOSTS, CREATE, START, running(), STOP)


def deleted() -> Story:
    return given(*HOSTS, CREATE, DELETE)


@pytest.mark.parametrize(
    ("story", "command", "types", "code"),
    [
        (nowhere(), CREATE, ("claim.taken", "vm.created", "command.ended"), None),
        (nowhere(), START, ENDED, Code.NO_SUCH_VM),
        (nowhere(), STOP, ENDED, Code.NO_SUCH_VM),
        (nowhere(), DELETE, ENDED, Code.NO_SUCH_VM),
        (created(), START, PLACED, None),
        (created(), STOP, ENDED, Code.ALREADY_SO),
        (created(), DELETE, FORGOTTEN, None),
        (started(), START, ("command.joined",), None),
        (started(), STOP, ("vm.stop_requested", "command.ended", "host.vm_desired"), Code.SUPERSEDED),
        (started(), DELETE, ENDED, Code.WRONG_PHASE),
        (started(booting()), START, ("command.ended", "command.ended"), Code.ALREADY_SO),
        (started(booting()), DELETE, ("command.ended", "command.ended"), Code.WRONG_PHASE),
        (started(running()), START, ("command.ended", "command.ended"), Code.ALREADY_SO),
        (started(running()), STOP, ("command.ended", "vm.stop_requested", "host.vm_desired"), None),
        (started(running()), DELETE, ("command.ended", "command.ended"), Code.WRONG_PHASE),
        (stopping(), START, ENDED, Code.WRONG_PHASE),
        (stopping(), STOP, ("command.joined",), None),
        (stopping(), DELETE, ENDED, Code.WRONG_PHASE),
        (deleted(), START, ENDED, Code.NO_SUCH_VM),
        (deleted(), STOP, ENDED, Code.NO_SUCH_VM),
        (deleted(), DELETE, ENDED, Code.NO_SUCH_VM),
    ],
)
def test_every_verb_in_every_phase(
    story: Story, command: Command, types: tuple[str, ...], code: Code | None
) -> None:
    number = 0 if isinstance(command, CreateVm) else 1
    story.when(command, number).then(*types)
    if story.ended:
        assert story.ended[-1].code is code


@pytest.mark.parametrize("end", [stopped(), start_failed()])
@pytest.mark.parametrize(("command", "types"), [(START, PLACED), (DELETE, FORGOTTEN)])
def test_a_placement_seen_to_be_over_is_released_before_the_vm_goes_on(
    end: VmFact, command: Command, types: tuple[str, ...]
) -> None:
    story = started(end).when(command)
    story.then(*RELEASED, "command.ended", *types)
    host = story.world.host(HOST).value
    assert host is not None
    assert host.vms == (1 if command is START else 0)


def test_a_stop_of_what_was_seen_to_have_stopped_is_already_so() -> None:
    story = started(stopped()).when(STOP)
    story.then(*RELEASED, "command.ended", "command.ended")
    assert story.ends(1, OK, Code.ALREADY_SO).facts == {"phase": "stopped"}


def test_a_create_that_comes_again_decides_nothing() -> None:
    created().when(CREATE, 0).then()


def test_a_name_is_taken_once() -> None:
    twin = CreateVm(vm_id=vm_id(5), spec=spec())
    story = created().when(twin, 5).then(*ENDED)
    assert story.ends(5, FAILED, Code.NAME_TAKEN).facts == {"name": "web", "owner": f"vm_{VM}"}
    assert story.world.vms[vm_id(5)].value is None


def test_a_delete_frees_the_name() -> None:
    twin = CreateVm(vm_id=vm_id(5), spec=spec())
    story = deleted().when(twin, 5).then("claim.taken", "vm.created", "command.ended")
    story.ends(5, OK)


def test_a_start_raises_the_generation_and_reserves_in_one_batch() -> None:
    story = created().when(START).then(*PLACED)
    placed, reserved = story.event("vm.placed"), story.event("host.reserved")
    assert isinstance(placed, VmPlaced)
    assert isinstance(reserved, HostReserved)
    assert placed.placement == placement(HOST, 1)
    assert (reserved.host.vms, reserved.host.allocated) == (1, spec().needs)
    assert story.last.guards is not None
    assert story.last.guards.keys() == {subjects.vm_ctl(VM), subjects.host_ctl(HOST)}


def test_a_full_cluster_refuses_with_what_each_host_lacks() -> None:
    story = given(
        HostRegistered(host=a_host(HOST, memory_mib=600, vms=1)),
        HostRegistered(host=a_host(OTHER_HOST, vcpus=3, vms=1)),
        HostRegistered(host=a_host(host_id(3))),
        CREATE,
    ).silence(host_id(3))
    facts = story.when(START).then(*ENDED).ends(1, FAILED, Code.NO_HOST_FITS).facts
    assert (facts["considered"], facts["vcpus"], facts["memory_mib"]) == (3, 2, spec().needs.memory_mib)
    assert [(one["host"], one["filter"], one["needs"], one["has"]) for one in facts["refusals"]] == [
        ("rack-1", "memory", "609 MiB", "88 MiB free of 600"),
        ("rack-2", "vcpus", "2 vCPUs", "1 vCPUs free of 3"),
        ("rack-3", "liveness", "a heartbeat", "none heard lately"),
    ]
    assert facts["refused"] == {"memory": 1, "vcpus": 1, "liveness": 1}


def test_a_silent_host_gets_nothing_though_it_is_the_freest() -> None:
    story = given(
        HostRegistered(host=a_host(HOST, memory_mib=1024)),
        HostRegistered(host=a_host(OTHER_HOST, memory_mib=65536)),
        CREATE,
    ).silence(OTHER_HOST)
    placed = story.when(START).event("vm.placed")
    assert isinstance(placed, VmPlaced)
    assert placed.placement.host_id == HOST


def test_a_host_that_shrank_below_what_it_has_promised_is_full_not_broken() -> None:
    shrunk = a_host(vcpus=1, memory_mib=256, vms=3)
    story = given(HostRegistered(host=shrunk), CREATE).when(START)
    refusal = story.ends(1, FAILED, Code.NO_HOST_FITS).facts["refusals"][0]
    assert refusal["has"] == "0 MiB free of 256"
    assert shrunk.free == Resources(vcpus=0, memory_mib=0)


def test_thousands_of_refusals_are_told_in_part() -> None:
    hosts = [HostRegistered(host=a_host(host_id(number), memory_mib=64)) for number in range(1, 300)]
    facts = given(*hosts, CREATE).when(START).ends(1, FAILED, Code.NO_HOST_FITS).facts
    assert (facts["considered"], len(facts["refusals"])) == (299, 100)


def test_a_stop_overtakes_all_starts_that_wait() -> None:
    story = created().when(START, 1).when(START, 2).when(STOP, 3)
    for number in (1, 2):
        assert story.ends(number, FAILED, Code.SUPERSEDED).facts["by"] == f"op_{command_id(3)}"
    assert story.pending() == [command_id(3)]


def test_a_stop_is_never_refused_because_of_starts_that_wait() -> None:
    story = created()
    for number in range(PENDING_MAX):
        story.when(START, number + 1)
    story.when(STOP, 50)
    assert story.pending() == [command_id(50)]


@pytest.mark.parametrize("command", [START, STOP])
def test_so_many_may_wait_and_no_more(command: Command) -> None:
    story = created() if command is START else started(running())
    for number in range(PENDING_MAX):
        story.when(command, number + 1)
    assert len(story.pending()) == PENDING_MAX
    facts = story.when(command, 50).ends(50, FAILED, Code.TOO_MANY_PENDING).facts
    assert facts == {"pending": PENDING_MAX, "most": PENDING_MAX}


@pytest.mark.parametrize(("second_s", "type_"), [(5.0, "vm.stop_requested"), (60.0, "command.joined")])
def test_only_a_shorter_grace_changes_a_stop_that_is_under_way(second_s: float, type_: str) -> None:
    story = (
        started(running()).when(StopVm(vm_id=VM, grace_s=30), 1).when(StopVm(vm_id=VM, grace_s=second_s), 2)
    )
    assert type_ == story.last.changes[0].event.TYPE
    assert story.pending() == [command_id(1), command_id(2)]
    vm = story.world.vms[VM].value
    assert vm is not None
    assert vm.grace_s == min(30, second_s)


@pytest.mark.parametrize("command", [START, STOP])
def test_a_pending_command_that_comes_again_decides_nothing(command: Command) -> None:
    story = created() if command is START else started(running())
    story.when(command, 7).when(command, 7).then()


def test_a_refusal_leaves_the_state_as_it_is() -> None:
    before = given(VmCreated(vm=a_vm(desired=Desired.RUNNING, placed=placement(HOST, 4))))
    story = before.when(DELETE)
    ended = story.event("command.ended")
    assert isinstance(ended, CommandEnded)
    assert ended.vm == a_vm(desired=Desired.RUNNING, placed=placement(HOST, 4))
    assert ended.vm.generation == Generation(4)
