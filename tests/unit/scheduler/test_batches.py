"""Commands that wait together are decided together: each on what those before it will have left."""

from collections.abc import Sequence

import pytest

from events import subjects
from events.codes import Code
from events.commands import CreateVm, DeleteVm, StartVm
from events.events import HostCapacityChanged
from events.ids import Seq
from events.values import Resources
from infra.eventlog.memory import Fault, MemoryConsumer, MemoryLog, MemoryStream
from infra.eventlog.port import Delivery, Guards, Write
from tests.support.builders import HOST, VM, a_write, command_id, running, spec, vm_id
from tests.unit.scheduler.shell import Control, Turns

CREATE, START = command_id(0), command_id(500)


class Counting(Turns):
    """A log that counts what it is told at once; something may be written just before the first of it."""

    def __init__(self, stream: MemoryStream, before: Write | None = None) -> None:
        super().__init__(stream)
        self.sizes: list[int] = []
        self._before = before

    async def append(self, writes: Sequence[Write], guards: Guards) -> Seq:
        if self._before is not None:
            before, self._before = self._before, None
            await MemoryLog.append(self, [before], {})
        self.sizes.append(len(writes))
        return await super().append(writes, guards)


async def with_a_host(memory_mib: int = 4608) -> Control:
    control = Control()
    await control.host(HOST, memory_mib=memory_mib)
    async with control.scheduler():
        await control.see(lambda ledger: bool(ledger.hosts))
    return control


class Twice(MemoryConsumer):
    """A queue that hands out each message two times."""

    async def fetch(self, most: int, wait_s: float) -> Sequence[Delivery]:
        found = await super().fetch(most, wait_s)
        return [*found, *found]


async def test_vms_are_made_and_started_and_a_host_filled_in_one_append() -> None:
    needs = spec("vm", 1, 64).needs.memory_mib
    control, numbers = await with_a_host(512 + 3 * needs), range(4)
    creates = {
        command_id(number): CreateVm(vm_id=vm_id(number), spec=spec(f"vm-{number}", 1, 64))
        for number in numbers
    }
    starts = {command_id(500 + number): StartVm(vm_id=vm_id(number)) for number in numbers}
    log = Counting(control.events)
    async with control.scheduler(log):
        await control.turns()
        await control.ask_at_once({**creates, **starts})
        ledger = await control.ended(*creates, command_id(503))
        await control.settled()
    assert log.sizes == [4 * 3 + 3 * 3 + 1]
    assert [host.vms for host in ledger.hosts.values()] == [3]
    assert control.end_of(command_id(503)).code is Code.NO_HOST_FITS


async def test_a_command_that_came_twice_at_once_ends_once() -> None:
    control = await with_a_host()
    control.consumer = Twice(control.asked, "cmd.>")
    async with control.scheduler():
        await control.turns()
        await control.ask_at_once({CREATE: CreateVm(vm_id=VM, spec=spec()), START: DeleteVm(vm_id=vm_id(9))})
        await control.ended(CREATE, START)
        await control.settled()
    (await control.ended()).check_ended([CREATE, START])


async def test_where_one_guard_does_not_hold_all_are_decided_anew_one_by_one() -> None:
    control = await with_a_host()
    host = (await control.ended()).hosts[HOST]
    smaller = host.model_copy(update={"capacity": Resources(vcpus=8, memory_mib=700)})
    shrunk = a_write(subjects.host_ctl(HOST), HostCapacityChanged(host=smaller, before=host.capacity))
    creates = {
        command_id(number): CreateVm(vm_id=vm_id(number), spec=spec(f"vm-{number}")) for number in range(2)
    }
    starts = {command_id(500 + number): StartVm(vm_id=vm_id(number)) for number in range(2)}
    log = Counting(control.events, shrunk)
    async with control.scheduler(log):
        await control.turns()
        await control.ask_at_once({**creates, **starts})
        ledger = await control.ended(*creates, command_id(501))
        await control.settled()
    assert (ledger.hosts[HOST].capacity, ledger.hosts[HOST].vms) == (smaller.capacity, 1)
    assert control.end_of(command_id(501)).code is Code.NO_HOST_FITS


@pytest.mark.parametrize("fault", [Fault.NOT_STORED, Fault.ANSWER_LOST, Fault.LATE, Fault.FULL])
async def test_what_may_not_have_been_stored_is_not_believed_and_comes_again(fault: Fault) -> None:
    control = await with_a_host()
    async with control.scheduler(Turns(control.events)):
        await control.turns()
        control.events.faults.append(fault)
        await control.ask_at_once({CREATE: CreateVm(vm_id=VM, spec=spec()), START: StartVm(vm_id=VM)})
        await control.see(lambda ledger: bool(ledger.placed[VM]))
        await control.tell(running())
        await control.ended(CREATE, START)
    (await control.ended()).check_ended([CREATE, START])
