"""Each checker is silent about what is right and names what is wrong."""

from collections.abc import AsyncIterator, Sequence
from uuid import UUID

import pytest

from events.events import CommandEnded, HostReserved, Outcome, VmPlaced
from events.host import Host
from events.ids import CommandId, Seq
from events.values import Desired, Resources
from events.vm import PendingCommand
from infra.eventlog.port import Recorded
from sim.checkers.commands import account
from sim.checkers.history import History, Kept
from sim.checkers.ledger import Ledger
from sim.checkers.stream import Wholeness
from tests.support.builders import HOST, NOON, VM, a_vm, command_id, placement

ONE, TWO, THREE = command_id(1), command_id(2), command_id(3)


def message(seq: int, id_: int | None = None) -> Recorded:
    return Recorded(Seq(seq), "evt.x", UUID(int=id_ if id_ is not None else seq), b"", NOON)


def whole(*messages: Recorded) -> Sequence[str]:
    found = Wholeness("EVT")
    for one in messages:
        found.take(one)
    found.begins_at(Seq(1))
    return found.faults


def test_a_stream_without_a_gap_is_whole() -> None:
    assert whole(message(1), message(2), message(3)) == []


@pytest.mark.parametrize(
    ("messages", "fault"),
    [
        ([message(1), message(3)], "EVT: between 1 and 3 messages are missing"),
        ([message(2), message(3)], "EVT: it begins at 2, not at 1"),
        ([message(1, 7), message(2, 7)], "EVT: 1 and 2 have one id"),
    ],
)
def test_a_gap_a_lost_beginning_and_an_id_twice_are_faults(messages: list[Recorded], fault: str) -> None:
    assert whole(*messages) == [fault]


def test_a_hosts_fact_may_be_stored_again_and_nothing_else() -> None:
    fact = f"evt.vm.{VM}.{HOST}"
    for subject, body, faults in (
        (fact, b"", []),
        (fact, b"other", ["EVT: 1 and 2 have one id"]),
        (f"evt.vm.{VM}.ctl", b"", ["EVT: 1 and 2 have one id"]),
    ):
        again = [Recorded(Seq(1), subject, VM, b"", NOON), Recorded(Seq(2), subject, VM, body, NOON)]
        assert whole(*again) == faults


def ended(command: CommandId) -> CommandEnded:
    return CommandEnded(command_id=command, outcome=Outcome.SUCCEEDED, vm=None)


def placed(pending: tuple[PendingCommand, ...] = ()) -> VmPlaced:
    vm = a_vm(desired=Desired.RUNNING, placed=placement(), pending=pending)
    return VmPlaced(vm=vm, placement=placement(), considered=1)


def test_an_acknowledged_command_has_ended_or_is_pending() -> None:
    ledger = Ledger()
    ledger.take(ended(ONE))
    pending = (PendingCommand(command_id=TWO, verb="start"),)
    ledger.take(placed(pending))
    asked = {ONE: Seq(1), TWO: Seq(2), THREE: Seq(3)}
    told = account(asked, Seq(2), ledger, whole=True)
    assert (told.ended, told.pending, told.waiting, told.faults) == (1, 1, 1, [])
    told = account(asked, Seq(3), ledger, whole=True)
    assert told.faults == [
        f"command {THREE} (CMD 3) was acknowledged, and neither has it ended nor is it pending"
    ]


def test_an_end_that_nobody_asked_for_is_a_fault_while_every_command_is_remembered() -> None:
    ledger = Ledger()
    ledger.take(ended(ONE))
    assert account({}, Seq(0), ledger, whole=True).faults == [f"command {ONE} ended, and nobody asked for it"]
    assert account({}, Seq(0), ledger, whole=False).faults == []


def test_a_reservation_without_a_placement_is_a_fault() -> None:
    ledger = Ledger()
    capacity, taken = Resources(vcpus=4, memory_mib=4096), Resources(vcpus=2, memory_mib=512)
    host = Host(host_id=HOST, name="h", capacity=capacity, allocated=taken, vms=1)
    ledger.take(HostReserved(host=host, vm_id=VM, resources=taken))
    (fault,) = ledger.faults()
    assert "h has 1 VMs reserved" in fault
    ledger.take(placed())
    assert ledger.faults() == []


async def compared(logged: Sequence[Kept], table: Sequence[Kept]) -> Sequence[str]:
    async def rows() -> AsyncIterator[Kept]:
        for row in table:
            yield row

    history = History(rows())
    for one in logged:
        await history.compare(one)
    await history.end()
    return history.faults


async def test_a_history_is_compared_event_by_event() -> None:
    events = [Kept(Seq(seq), "evt.x", b"%d" % seq) for seq in range(1, 5)]
    assert await compared(events, events) == []
    assert await compared(events, [events[0], *events[2:]]) == ["event 2 on evt.x is not in the table"]
    assert await compared(events[:3], events) == ["the table has an event 4, the log has not"]
    assert await compared(events[1:], events) == ["the table has an event 1, the log has not"]
    other = [*events[:2], Kept(Seq(3), "evt.x", b"other"), events[3]]
    assert await compared(events, other) == ["event 3 on evt.x is another one in the table"]
