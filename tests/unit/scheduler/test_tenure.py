"""Who of several schedulers is active, what others do meanwhile, and what becomes of work when it changes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from events.commands import CreateVm, StartVm, StopVm
from events.facts import VmFact
from events.ids import CommandId, Seq, VmId
from infra.eventlog.port import Recorded, Write
from infra.leases.memory import Fault, MemoryLeases
from infra.leases.term import DRIFT, Timing
from sim.reading import read_ledger
from tests.support.builders import HOST, OTHER_HOST, booting, command_id, spec, stopped, vm_id
from tests.support.eventually import eventually
from tests.support.still_clock import StillClock
from tests.unit.scheduler.shell import Control, DiesAfterAppend, Process, Turns

TERM_S = Timing().term_s * DRIFT + 0.01
STEPS = 15
VMS = 8


class Stuck:
    """Leases whose answers one process does not hear once it has taken one, until it is let go on."""

    def __init__(self, leases: MemoryLeases) -> None:
        self._leases, self._taken = leases, False
        self.goes_on = asyncio.Event()

    async def look(self, subject: str) -> Recorded | None:
        return await self._leases.look(subject)

    async def say(self, write: Write, guard: Seq) -> Seq:
        if self._taken:
            await self.goes_on.wait()
        self._taken = True
        return await self._leases.say(write, guard)


async def with_a_host() -> Control:
    control = Control()
    await control.host(HOST)
    return control


async def passes(control: Control, seconds: float = TERM_S) -> None:
    """Let time pass in small steps, and everybody see each."""
    for _ in range(STEPS):
        await control.turns()
        control.clock.passed_s += seconds / STEPS
    await control.turns()


async def create(control: Control, number: int) -> CommandId:
    await control.ask(command_id(number), CreateVm(vm_id=vm_id(number), spec=spec(f"vm-{number}")))
    return command_id(number)


async def start(control: Control, number: int) -> CommandId:
    await control.ask(command_id(100 + number), StartVm(vm_id=vm_id(number)))
    return command_id(100 + number)


async def placed(control: Control, vm: VmId) -> None:
    await control.see(lambda ledger: vm in ledger.placed)


async def test_of_two_one_is_active_and_the_other_keeps_its_world_warm() -> None:
    control = await with_a_host()
    async with control.scheduler() as one, control.scheduler(replica="two") as two:
        await control.ended(await create(control, 1))
        await control.turns()
        assert (one.active(), two.active()) == (True, False)
        warm = control.memories[1].world
        assert warm.vms.keys() == {vm_id(1)}
        assert HOST in warm.fleet


async def test_the_passive_one_takes_over_when_the_term_is_over_and_not_before() -> None:
    control = await with_a_host()
    async with control.scheduler() as one, control.scheduler(replica="two") as two:
        await control.ended(await create(control, 1))
        one.kill()
        asked = await create(control, 2)
        await passes(control, TERM_S / 2)
        assert not two.active()
        assert not control.consumer.under_way, "nobody took it"
        await passes(control, TERM_S / 2)
        assert two.active()
        (await control.ended(asked)).check_ended([asked])


async def test_one_alone_that_is_started_again_is_active_at_once() -> None:
    control = await with_a_host()
    async with control.scheduler():
        await control.ended(await create(control, 1))
    async with control.scheduler():
        await control.ended(await create(control, 2))


async def test_on_taking_over_it_settles_what_hosts_reported_meanwhile() -> None:
    control = await with_a_host()
    async with control.scheduler() as one, control.scheduler(replica="two"):
        await control.ended(await create(control, 1))
        started = await start(control, 1)
        await placed(control, vm_id(1))
        one.kill()
        await control.tell(booting(vm=vm_id(1)))
        seen = await control.log.last_seq()
        await control.turns()
        assert await control.log.last_seq() == seen, "the passive one settles nothing"
        await passes(control)
        await control.ended(started)


@pytest.mark.parametrize("fatal", [1, 2, 3])
async def test_killed_between_append_and_ack_its_work_is_found_done(fatal: int) -> None:
    control = await with_a_host()
    dying = DiesAfterAppend(control.events, fatal)
    async with control.scheduler(dying) as one, control.scheduler(replica="two"):
        asked = [await create(control, 1), await create(control, 2)]
        await asyncio.wait_for(dying.reached.wait(), 5)
        one.kill()
        await passes(control)
        ledger = await control.ended(*asked)
        await control.settled()
    ledger.check_ended(asked)


async def test_one_that_stops_hands_over_at_once_with_what_it_had_in_hand() -> None:
    control = await with_a_host()
    held = DiesAfterAppend(control.events, 1)
    async with control.scheduler() as first:
        await control.ended(await create(control, 1))
        first.stop()
        await control.turns()
    async with control.scheduler(held) as one, control.scheduler(replica="two") as two:
        asked = [await create(control, 2), await create(control, 3)]
        await asyncio.wait_for(held.reached.wait(), 5)
        one.stop()
        ledger = await control.ended(*asked)  # no time has passed, and no message's time was up
        await control.settled()
        assert two.active()
    ledger.check_ended(asked)


async def test_one_that_cannot_give_its_commands_back_hands_over_all_the_same() -> None:
    control = await with_a_host()
    async with control.scheduler() as one, control.scheduler(replica="two") as two:
        await control.ended(await create(control, 1))
        one.wire.no_goodbye = True
        one.stop()
        await control.ended(await create(control, 2))  # no time has passed
        assert (one.active(), two.active()) == (False, True)


async def test_one_that_cannot_renew_gives_its_work_back_when_its_own_term_is_over() -> None:
    control = await with_a_host()
    held = DiesAfterAppend(control.events, 2)
    async with control.scheduler(held) as one:
        await control.see(lambda ledger: HOST in ledger.hosts)
        asked = [await create(control, 1), await create(control, 2)]
        await asyncio.wait_for(held.reached.wait(), 5)
        control.leases.away = True
        await passes(control)
        assert not one.active()
        control.leases.away = False
        await eventually(one.active, "it goes on, as nobody else has begun")
        ledger = await control.ended(*asked)
        await control.settled()
    ledger.check_ended(asked)


@pytest.mark.parametrize("fault", list(Fault))
async def test_one_renewal_that_goes_wrong_ends_nothing(fault: Fault) -> None:
    control = await with_a_host()
    async with control.scheduler() as one, control.scheduler(replica="two") as two:
        await control.ended(await create(control, 1))
        control.leases.faults.append(fault)
        await passes(control)
        assert not control.leases.faults
        assert (one.active(), two.active()) == (True, False)


async def tell(control: Control, number: int, fact: Callable[..., VmFact]) -> None:
    """Let the host of a VM report something about it."""
    placement = (await read_ledger(control.log)).vms[vm_id(number)].placement
    assert placement is not None
    await control.tell(fact(vm_id(number), placement.host_id))


async def lives(control: Control, numbers: range) -> list[CommandId]:
    """Take VMs through create, start and stop while whoever is active decides."""
    asked = [await create(control, number) for number in numbers]
    await control.ended(*asked)
    starts = [await start(control, number) for number in numbers]
    for number in numbers:
        await placed(control, vm_id(number))
        await tell(control, number, booting)
    await control.ended(*starts)
    stops = [command_id(200 + number) for number in numbers]
    for number, id_ in zip(numbers, stops, strict=True):
        await control.ask(id_, StopVm(vm_id=vm_id(number)))
    await control.see(lambda ledger: all(ledger.vms[vm_id(n)].pending for n in numbers))
    for number in numbers:
        await tell(control, number, stopped)
    await control.ended(*stops)
    return [*asked, *starts, *stops]


@asynccontextmanager
async def both_active(control: Control) -> AsyncIterator[tuple[Process, Stuck]]:
    """Have one whose clock stands still and whose renewals are not answered, and another that took over."""
    stuck = Stuck(control.leases)
    async with (
        control.scheduler(Turns(control.events), clock=StillClock(), leases=stuck) as one,
        control.scheduler(Turns(control.events), replica="two") as two,
    ):
        await control.ended(await create(control, 0))
        await passes(control)
        assert one.active()
        assert two.active()
        yield one, stuck


async def test_two_that_are_active_at_once_decide_nothing_twice() -> None:
    control = await with_a_host()
    await control.host(OTHER_HOST, cores=8, memory_mib=16384)
    async with both_active(control):
        asked = await lives(control, range(1, VMS))
        await control.settled()
    (await control.ended(*asked)).check_ended([command_id(0), *asked])


async def test_one_that_finds_that_another_has_begun_leaves_all_to_it() -> None:
    control = await with_a_host()
    async with both_active(control) as (one, stuck):
        asked = [await create(control, number) for number in range(1, VMS)]
        stuck.goes_on.set()
        await control.turns()
        assert not one.active()
        await control.settled()
        asked += await lives(control, range(VMS, VMS + 2))
    (await control.ended(*asked)).check_ended([command_id(0), *asked])
