"""The scheduler's shell: what a crash, a lost answer, a conflict or unreadable bytes leave behind."""

import asyncio
from collections.abc import Sequence

import pytest

from events import subjects
from events.codes import Code
from events.commands import CreateVm, RebootVm, StartVm, StopVm, UpdateVm
from events.events import Outcome
from events.facts import StopCause
from events.ids import Generation, Seq
from events.values import Placement
from infra.eventlog.memory import Fault, MemoryConsumer, MemoryLog
from infra.eventlog.port import Recorded, Write
from infra.runtime.errors import Unavailable
from infra.runtime.ids import random_id
from services.scheduler.memory import DEAF_S, SILENT_S, Memory
from sim.reading import read_ledger
from tests.support.builders import (
    HOST,
    OTHER_HOST,
    VM,
    a_write,
    booting,
    command_id,
    host_id,
    report,
    running,
    spec,
    start_failed,
    stopped,
    vm_id,
)
from tests.unit.scheduler.shell import ActsAfterLook, Control, DiesAfterAppend, FailsOnce, Turns

CREATE, START, STOP = command_id(0), command_id(1), command_id(2)
BATCHES_OF_A_LIFE = 6
"""Appends of the story below: the host joins, create, start, it runs, stop, it has stopped."""


async def with_a_vm() -> Control:
    """A host that is heard, and a VM that is to be created."""
    control = Control()
    await control.host(HOST)
    await control.ask(CREATE, CreateVm(vm_id=VM, spec=spec()))
    return control


async def live(control: Control) -> None:
    """Create, start and stop the VM, each after the other, wherever the story stands."""
    await control.ended(CREATE)
    if not await control.queue.load(subjects.command(VM, START)):
        await control.ask(START, StartVm(vm_id=VM))
    await control.see(lambda ledger: VM in ledger.placed)
    await control.tell(booting())
    await control.ended(START)
    if not await control.queue.load(subjects.command(VM, STOP)):
        await control.ask(STOP, StopVm(vm_id=VM))
    await control.see(lambda ledger: bool(ledger.ends[STOP] or ledger.vms[VM].pending))
    await control.tell(stopped())
    await control.ended(STOP)


@pytest.mark.parametrize("fatal", range(1, BATCHES_OF_A_LIFE + 1))
async def test_killed_between_append_and_ack_it_ends_each_command_once(fatal: int) -> None:
    control = await with_a_vm()
    dying = DiesAfterAppend(control.events, fatal)
    async with asyncio.TaskGroup() as group, control.scheduler(dying):
        story = group.create_task(live(control))
        await asyncio.wait_for(dying.reached.wait(), 5)
        story.cancel()
    await control.consumer.close()
    async with control.scheduler():
        await live(control)
        await control.settled()
    ledger = await control.ended(CREATE, START, STOP)
    ledger.check_ended([CREATE, START, STOP])
    assert ledger.placed[VM] == [1]


@pytest.mark.parametrize("fault", [Fault.ANSWER_LOST, Fault.NOT_STORED, Fault.FULL])
@pytest.mark.parametrize("at", range(BATCHES_OF_A_LIFE))
async def test_an_append_that_fails_in_any_way_is_made_good(fault: Fault, at: int) -> None:
    control = await with_a_vm()
    log = FailsOnce(control.events, at, fault, control.consumer)
    async with control.scheduler(log):
        await live(control)
        await control.settled()
    ledger = await control.ended(CREATE, START, STOP)
    ledger.check_ended([CREATE, START, STOP])
    assert ledger.placed[VM] == [1]


@pytest.mark.parametrize("body", [b"nonsense", b"[]", a_write("x", StopVm(vm_id=vm_id(9))).body])
async def test_a_command_that_cannot_be_read_ends_so(body: bytes) -> None:
    control = await with_a_vm()
    await control.queue.append([Write(subjects.command(VM, START), START, body)], {})
    async with control.scheduler():
        await control.ended(CREATE, START)
        await control.settled()
    end = control.end_of(START)
    assert (end.outcome, end.code) == (Outcome.FAILED, Code.UNREADABLE_COMMAND)


async def test_a_command_on_no_subject_of_ours_is_put_aside() -> None:
    control = await with_a_vm()
    await control.queue.append([Write("cmd.vm.nobody.nothing", random_id(), b"{}")], {})
    async with control.scheduler():
        await control.ended(CREATE)
        await control.settled()


async def test_nothing_is_decided_on_a_state_that_cannot_be_read() -> None:
    control = await with_a_vm()
    async with control.scheduler():
        await control.ended(CREATE)
    unreadable = Write(subjects.vm_ctl(VM), random_id(), b"from the future")
    await control.log.append([unreadable], {})
    await control.ask(START, StartVm(vm_id=VM))
    async with control.scheduler():
        await control.ask(command_id(5), CreateVm(vm_id=vm_id(5), spec=spec("db")))
        await control.ended(command_id(5))
    assert not (await read_ledger(control.log)).ends[START]
    assert len(control.consumer.under_way) == 1
    last = await control.log.load(subjects.vm_ctl(VM))
    assert last is not None
    assert last.event_id == unreadable.event_id


async def test_a_host_whose_state_cannot_be_read_gets_nothing_and_others_do() -> None:
    control = await with_a_vm()
    await control.host(OTHER_HOST, cores=1, memory_mib=2048)
    async with control.scheduler():
        await control.ended(CREATE)
        await control.log.append([Write(subjects.host_ctl(HOST), random_id(), b"from the future")], {})
        await control.ask(START, StartVm(vm_id=VM))
        ledger = await control.see(lambda ledger: VM in ledger.placed)
    placed = ledger.vms[VM].placement
    assert placed is not None
    assert placed.host_id == OTHER_HOST


async def test_a_host_cannot_speak_for_another_or_for_the_control_plane() -> None:
    control = await with_a_vm()
    await control.host(OTHER_HOST, cores=1, memory_mib=1100)
    async with control.scheduler():
        await control.ended(CREATE)
        await control.ask(START, StartVm(vm_id=VM))
        ledger = await control.see(lambda ledger: VM in ledger.placed)
        placed = ledger.vms[VM].placement
        assert placed == Placement(host_id=HOST, generation=ledger.vms[VM].generation)
        forged = stopped(cause=StopCause.LOST)
        for subject in (subjects.vm_fact(VM, OTHER_HOST), f"evt.vm.nobody.{OTHER_HOST}"):
            await control.log.append([a_write(subject, forged)], {})
        await control.log.append([a_write(subjects.host_fact(OTHER_HOST), report(HOST, cores=1))], {})
        await control.tell(booting())
        ledger = await control.ended(START)
    assert ledger.vms[VM].placement == placed
    assert control.end_of(START).outcome is Outcome.SUCCEEDED


async def test_a_start_waits_until_there_was_time_to_hear_the_hosts() -> None:
    control = await with_a_vm()
    control.hosts[:] = [OTHER_HOST]  # heard, but not known to have room
    async with control.scheduler():
        await control.ended(CREATE)
        await control.ask(START, StartVm(vm_id=VM))
        await control.turns()
        assert not (await read_ledger(control.log)).ends[START]
        control.memories[0].heard(subjects.heartbeat(HOST), b"")
        await control.see(lambda ledger: VM in ledger.placed)


async def test_what_follows_on_a_command_that_has_to_wait_does_not_overtake_it() -> None:
    control = await with_a_vm()
    async with control.scheduler():
        await control.ended(CREATE)
    control.hosts[:] = []
    async with control.scheduler():
        await control.turns()
        await control.ask_at_once({START: StartVm(vm_id=VM), STOP: StopVm(vm_id=VM, grace_s=0)})
        await control.turns()
        control.memories[-1].heard(subjects.heartbeat(HOST), b"")
        await control.see(lambda ledger: VM in ledger.placed)
        await control.tell(stopped())
        await control.ended(START, STOP)
    assert control.end_of(STOP).code is not Code.ALREADY_SO


async def test_a_failed_start_is_not_given_up_before_there_was_time_to_hear_the_hosts() -> None:
    control = await with_a_vm()
    async with control.scheduler():
        await control.ended(CREATE)
        await control.ask(START, StartVm(vm_id=VM))
        await control.see(lambda ledger: VM in ledger.placed)
    await control.host(OTHER_HOST)
    async with control.scheduler():
        await control.see(lambda ledger: len(ledger.hosts) == 2)
    await control.tell(start_failed(message="no"))
    control.hosts[:] = []
    async with control.scheduler():
        await control.turns()
        assert not (await read_ledger(control.log)).ends[START]
        control.memories[-1].heard(subjects.heartbeat(OTHER_HOST), b"")
        ledger = await control.see(lambda ledger: len(ledger.placed[VM]) == 2)
    assert ledger.vms[VM].placement == Placement(host_id=OTHER_HOST, generation=Generation(2))


async def test_what_cannot_be_read_of_a_host_that_is_none_stops_nothing() -> None:
    control = await with_a_vm()
    await control.log.append([Write("evt.host.nobody.ctl", random_id(), b"a slip of somebody's hand")], {})
    async with control.scheduler():
        await control.ask(START, StartVm(vm_id=VM))
        await control.see(lambda ledger: VM in ledger.placed)


async def test_a_restart_waits_until_there_was_time_to_hear_the_hosts() -> None:
    """The old guest went while no scheduler was there; only a host that was not heard yet can take it."""
    control, update, reboot = await with_a_vm(), command_id(3), command_id(4)
    async with control.scheduler():
        await control.ended(CREATE)
        await control.ask(START, StartVm(vm_id=VM))
        await control.see(lambda ledger: VM in ledger.placed)
        await control.host(OTHER_HOST, memory_mib=65536)
        await control.tell(running())
        await control.ended(START)
        await control.ask(update, UpdateVm(vm_id=VM, patch={"memory_mib": 8192}))
        await control.ended(update)
        await control.ask(reboot, RebootVm(vm_id=VM))
        await control.see(lambda ledger: bool(ledger.vms[VM].pending))
    await control.tell(stopped())
    control.hosts[:] = [HOST]
    async with control.scheduler():
        await control.turns()
        assert not (await read_ledger(control.log)).ends[reboot]
        control.memories[-1].heard(subjects.heartbeat(OTHER_HOST), b"")
        ledger = await control.see(lambda ledger: len(ledger.placed[VM]) == 2)
    assert ledger.vms[VM].placement == Placement(host_id=OTHER_HOST, generation=Generation(2))


async def test_when_all_hosts_fall_silent_at_once_we_listen_anew_before_we_refuse() -> None:
    control = await with_a_vm()
    async with control.scheduler():
        await control.ended(CREATE)
        control.clock.passed_s = SILENT_S + 1
        await control.ask(START, StartVm(vm_id=VM))
        await control.turns()
        assert not (await read_ledger(control.log)).ends[START]
        control.clock.passed_s = DEAF_S + 1
        await control.ended(START)
    assert control.end_of(START).code is Code.NO_HOST_FITS


async def test_two_schedulers_fill_two_hosts_exactly_and_decide_nothing_twice() -> None:
    control = Control()
    wanted = [(vm_id(number), command_id(number), command_id(100 + number)) for number in range(30)]
    for number in (1, 2):
        await control.host(
            host_id(number), cores=4, memory_mib=512 + 15 * spec(vcpus=1, memory_mib=64).needs.memory_mib
        )
    for number, (vm, create, _) in enumerate(wanted):
        await control.ask(create, CreateVm(vm_id=vm, spec=spec(f"vm-{number}", 1, 64)))
    one, two = Turns(control.events), Turns(control.events)
    async with control.scheduler(one), control.scheduler(two):
        await control.ended(*(create for _, create, _ in wanted))
        for vm, _, start in wanted:
            await control.ask(start, StartVm(vm_id=vm))
        ledger = await control.see(lambda ledger: len(ledger.placed) == 30)
        for known in ledger.vms.values():
            assert known.placement is not None
            await control.tell(running(known.vm_id, known.placement.host_id, known.generation))
        extra = vm_id(99), command_id(99), command_id(199)
        await control.ask(extra[1], CreateVm(vm_id=extra[0], spec=spec("one-more", 1, 64)))
        await control.ended(extra[1])
        await control.ask(extra[2], StartVm(vm_id=extra[0]))
        ledger = await control.ended(extra[2], *(start for _, _, start in wanted))
        await control.settled()
    ledger = await control.ended()
    ledger.check_ended([id_ for _, create, start in [*wanted, extra] for id_ in (create, start)])
    assert sorted(host.vms for host in ledger.hosts.values()) == [15, 15]
    assert all(host.free.memory_mib == 0 for host in ledger.hosts.values())
    assert control.end_of(extra[2]).code is Code.NO_HOST_FITS


async def test_a_redelivered_command_that_ends_while_it_is_looked_at_ends_once() -> None:
    """Its end is written by the other task after the last look at the history, before the decision."""
    control = await with_a_vm()
    async with control.scheduler():
        await control.ended(CREATE)
        await control.ask(START, StartVm(vm_id=VM))
        await control.see(lambda ledger: VM in ledger.placed)
        await control.settled()

    async def guest_boots() -> None:
        await control.tell(booting())
        await control.turns()

    log = ActsAfterLook(control.events, guest_boots)
    async with control.scheduler(log):
        control.consumer.under_way.add(2)
        await control.consumer.redeliver(2)
        await control.ended(START)
        await control.settled()
    assert log.acted
    (await control.ended(START)).check_ended([START])


async def started_and_ended(control: Control) -> None:
    await control.ended(CREATE)
    await control.ask(START, StartVm(vm_id=VM))
    await control.see(lambda ledger: VM in ledger.placed)
    await control.tell(booting())
    await control.ended(START)
    await control.settled()


async def test_a_server_that_forgot_what_was_acknowledged_ends_nothing_again() -> None:
    """It delivers again as for the first time: to us, or to one that has just been started."""
    control = await with_a_vm()
    async with control.scheduler():
        await started_and_ended(control)
        for seq in (1, 2):
            await control.consumer.redeliver(seq)
        await control.ask(STOP, StopVm(vm_id=VM))
        await control.see(lambda ledger: bool(ledger.vms[VM].pending))
        await control.settled()
    control.consumer = MemoryConsumer(control.asked, "cmd.>")
    async with control.scheduler():
        await control.turns()
        await control.settled()
    (await control.ended(CREATE, START)).check_ended([CREATE, START])


async def test_what_is_written_while_the_world_is_read_was_read_ahead() -> None:
    """Another scheduler ends a command and goes on with its VM, while we read last words alone."""
    control = await with_a_vm()

    class Busy(MemoryLog):
        async def last_per_subject(self, pattern: str) -> Sequence[Recorded]:
            await control.tell(booting())
            return await super().last_per_subject(pattern)

    quiet, busy = (Memory(log, control.queue, control.clock) for log in (control.log, Busy(control.events)))
    await quiet.fill()
    assert quiet.has_ended(START, Seq(2)) is False
    await busy.fill()
    assert busy.has_ended(START, Seq(2)) is None


async def test_what_was_read_ahead_of_what_is_followed_tells_no_end() -> None:
    control = await with_a_vm()
    memory = Memory(control.log, control.queue, control.clock)
    follower = control.log.follow(await memory.fill(), ["evt.>"])
    async with control.scheduler():
        await started_and_ended(control)
        await control.ask(STOP, StopVm(vm_id=VM))
        await control.see(lambda ledger: bool(ledger.vms[VM].pending))
    assert memory.has_ended(START, Seq(2)) is False
    await memory.refresh([subjects.vm_ctl(VM)])
    assert memory.has_ended(START, Seq(2)) is None
    for recorded in await follower.next(100, 1):
        memory.follow(recorded)
    assert memory.has_ended(START, Seq(2)) is True
    assert memory.has_ended(STOP, Seq(3)) is False
    await memory.remember_ends()
    assert (memory.has_ended(START, Seq(2)), memory.has_ended(STOP, Seq(3))) == (True, False)
    await memory.remember_ends()
    assert (memory.has_ended(START, Seq(2)), memory.has_ended(STOP, Seq(4))) == (None, False)


async def test_a_half_that_could_not_be_begun_forgets_nothing() -> None:
    control, away = await with_a_vm(), False

    class Away(MemoryLog):
        async def last_seq(self) -> Seq:
            if away:
                raise Unavailable("event log", "away")
            return await super().last_seq()

    memory = Memory(control.log, Away(control.asked), control.clock)
    await memory.fill()
    away = True
    for _ in range(2):
        with pytest.raises(Unavailable):
            await memory.remember_ends()
        assert memory.has_ended(START, Seq(2)) is False
    away = False
    await memory.remember_ends()
    assert (memory.has_ended(START, Seq(1)), memory.has_ended(START, Seq(2))) == (None, False)
