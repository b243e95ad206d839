"""The memory twin and PostgreSQL behave alike: one suite, two adapters."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from events.codes import Code
from events.effective import FailureCode, StartFailure, Step
from events.facts import PauseCause
from events.ids import CommandId, Generation, HostId, Seq, VmId
from events.machine import HugePages, MachineFacts
from events.spec import Disk, ErrorPolicy, Nic, VmSpec
from events.values import Desired, Versions, VmPhase
from events.views import (
    HostView,
    Keys,
    LastFailure,
    LoggedEvent,
    OperationState,
    OperationView,
    Rows,
    StepView,
    VmView,
)
from infra.readmodel.engine import make_engine
from infra.readmodel.memory import MemoryReadModel, MemoryTables
from infra.readmodel.port import HISTORY_BYTES_MAX, PAGE_MAX, Fenced, ProjectionStore, ReadModel, Turn
from infra.readmodel.postgres import PostgresReadModel
from infra.readmodel.writer import PostgresProjectionStore
from tests.support.builders import an_effective
from tests.support.postgres import PostgresServer

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@dataclass
class World:
    known: ReadModel
    store: ProjectionStore
    rival: ProjectionStore


@pytest.fixture(params=["memory", "postgres"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "memory":
        tables = MemoryTables()
        yield World(MemoryReadModel(tables), MemoryReadModel(tables), MemoryReadModel(tables))
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    dsn = await server.new_database()
    engine, rival_engine = make_engine(dsn, "test"), make_engine(dsn, "rival")
    store, rival = PostgresProjectionStore(engine), PostgresProjectionStore(rival_engine)
    yield World(PostgresReadModel(engine), store, rival)
    await store.release()
    await rival.release()
    await engine.dispose()
    await rival_engine.dispose()


def vm(number: int, **changes: Any) -> VmView:
    view = VmView(
        vm_id=VmId(UUID(int=number)),
        name=f"vm-{number}",
        vcpus=2,
        memory_mib=512,
        image="debian",
        spec=VmSpec(name=f"vm-{number}", vcpus=2, memory_mib=512, image="debian"),
        desired=Desired.RUNNING,
        phase=VmPhase.RUNNING,
        created_at=NOON,
        changed_at=NOON,
        ctl_seq=1,
        seq=1,
    )
    return view.model_copy(update=changes)


def host(number: int, **changes: Any) -> HostView:
    return HostView(host_id=HostId(UUID(int=number)), name=f"host-{number}", seq=1).model_copy(update=changes)


def operation(number: int, **changes: Any) -> OperationView:
    view = OperationView(
        operation_id=CommandId(UUID(int=number)),
        verb="start",
        vm_id=VmId(UUID(int=1)),
        state=OperationState.PENDING,
        requested_by="ann",
        accepted_at=NOON + timedelta(seconds=number),
    )
    return view.model_copy(update=changes)


def step(number: int, seq: int) -> StepView:
    subject = f"evt.vm.{UUID(int=1)}.ctl"
    return StepView(
        operation_id=CommandId(UUID(int=number)), seq=seq, type="vm.placed", subject=subject, time=NOON
    )


def logged(seq: int, **changes: Any) -> LoggedEvent:
    event = LoggedEvent(
        seq=seq,
        subject="evt.vm.x.ctl",
        event_id=None,
        type=None,
        time=None,
        actor=None,
        causation_id=None,
        correlation_id=None,
        vm_id=None,
        host_id=None,
        body=None,
    )
    return event.model_copy(update=changes)


def rows_of(*views: VmView | HostView | OperationView) -> Rows:
    return Rows(
        vms={view.vm_id: view for view in views if isinstance(view, VmView)},
        hosts={view.host_id: view for view in views if isinstance(view, HostView)},
        operations={view.operation_id: view for view in views if isinstance(view, OperationView)},
    )


def turn(
    before: int,
    after: int,
    *views: VmView | HostView | OperationView,
    stream: str = "EVT",
    steps: Sequence[StepView] = (),
    log: Sequence[LoggedEvent] = (),
    fold: Callable[[Rows], tuple[Rows, Sequence[StepView]]] | None = None,
) -> Turn:
    rows = rows_of(*views)
    return Turn(
        stream=stream,
        before=Seq(before),
        after=Seq(after),
        reads=Keys(frozenset(rows.vms), frozenset(rows.hosts), frozenset(rows.operations)),
        fold=fold or (lambda _: (rows, steps)),
        logged=[(event, b"raw \x00 bytes") for event in log],
    )


async def active(world: World) -> ProjectionStore:
    assert await world.store.acquire()
    return world.store


def a_full_vm() -> VmView:
    """A VM every column of which holds something, floats and text that is no ASCII among it."""
    disks = (Disk(name="data", size_mib=1024), Disk(name="root", base="debian", storage="fast"))
    asked = vm(1).spec.model_copy(
        update={
            "disks": disks,
            "nics": (Nic(network="br0", mac="52:54:00:00:00:01"),),
            "agent_wait_s": 0.1,
            "on_io_error": ErrorPolicy.KILL,
        }
    )
    failure = StartFailure(step=Step.DEVICES, code=FailureCode.DISK, message="kein Platz für “data”")
    return vm(
        1,
        host_id=HostId(UUID(int=7)),
        generation=Generation(3),
        last_stop="crashed: “ü” \\u0000",
        spec=asked,
        running=vm(1).spec,
        phase=VmPhase.PAUSED,
        pause_cause=PauseCause.NO_SPACE,
        responding=False,
        agent=True,
        effective=an_effective(),
        last_failure=LastFailure(message="no", failures=(failure,), log_tail="qemu: ü\n"),
    )


async def test_whole_rows_come_back_as_they_were_written(world: World) -> None:
    store = await active(world)
    versions = Versions(roost="0.1.0", hypervisor="qemu", libvirt="9.0.0", qemu="7.2.0", kernel="6.1")
    full_vm = a_full_vm()
    machine = MachineFacts(networks=("br0",), hugepages=(HugePages(size_kib=2048, total=2, free=1),))
    full_host = host(7, versions=versions, boot_id="b", machine=machine, reported_at=NOON, vcpus=2**40)
    ended = operation(
        9,
        state=OperationState.FAILED,
        ended_at=NOON,
        code=Code.NO_HOST_FITS,
        facts={"considered": 3, "refusals": [{"host": "ü"}]},
        seq=4,
    )
    await store.advance(turn(0, 4, full_vm, full_host, ended, steps=[step(9, 4), step(9, 3)]))
    assert await world.known.vm(full_vm.vm_id) == full_vm
    assert list(await world.known.vms()) == [full_vm]
    assert await world.known.host(full_host.host_id) == full_host
    assert await world.known.operation(ended.operation_id) == ended
    assert list(await world.known.steps(ended.operation_id)) == [step(9, 3), step(9, 4)]


async def test_what_is_not_there_is_none(world: World) -> None:
    assert await world.known.vm(VmId(UUID(int=1))) is None
    assert await world.known.host(HostId(UUID(int=1))) is None
    assert await world.known.operation(CommandId(UUID(int=1))) is None
    assert list(await world.known.steps(CommandId(UUID(int=1)))) == []
    assert list(await world.known.operations(before=CommandId(UUID(int=1)))) == []
    assert await world.known.position("EVT") == 0


async def test_a_row_is_replaced_and_none_twice(world: World) -> None:
    store = await active(world)
    await store.advance(turn(0, 1, vm(1)))
    await store.advance(turn(1, 2, vm(1, phase=VmPhase.STOPPED, seq=2), vm(2)))
    assert list(await world.known.vms()) == [vm(1, phase=VmPhase.STOPPED, seq=2), vm(2)]


async def test_a_fold_is_given_the_rows_that_it_reads_and_no_others(world: World) -> None:
    store = await active(world)
    await store.advance(turn(0, 1, vm(1), vm(2), host(3), operation(4)))
    given: list[Rows] = []

    def fold(rows: Rows) -> tuple[Rows, Sequence[StepView]]:
        given.append(rows)
        return Rows(), ()

    await store.advance(turn(1, 2, vm(1), vm(5), host(3), operation(4), fold=fold))
    assert given == [rows_of(vm(1), host(3), operation(4))]


async def test_a_fold_is_given_rows_as_the_last_turn_left_them(world: World) -> None:
    store = await active(world)
    given: list[Rows] = []

    def fold(rows: Rows) -> tuple[Rows, Sequence[StepView]]:
        given.append(rows)
        return rows_of(vm(1, seq=len(given) + 1), vm(2)), ()

    await store.advance(turn(0, 1, vm(1), vm(2), fold=fold))
    await store.advance(turn(1, 2, vm(1), vm(2), vm(3), fold=fold))
    with pytest.raises(Fenced):
        await store.advance(turn(1, 2, vm(1), vm(2), fold=fold))  # what it made must not be taken for stored
    await store.advance(turn(2, 3, vm(1), fold=fold))
    assert given[:2] == [Rows(), rows_of(vm(1, seq=2), vm(2))]
    assert given[-1] == rows_of(vm(1, seq=3))


async def test_each_stream_has_its_own_checkpoint(world: World) -> None:
    store = await active(world)
    await store.advance(turn(0, 5))
    await store.advance(turn(0, 2, stream="CMD"))
    await store.advance(turn(5, 9))
    for reader in (world.known, world.store):
        assert (await reader.position("EVT"), await reader.position("CMD")) == (9, 2)


async def test_a_turn_from_another_checkpoint_is_fenced_and_leaves_nothing(world: World) -> None:
    store = await active(world)
    await store.advance(turn(0, 5, vm(1)))
    for before in (0, 4, 6):
        with pytest.raises(Fenced):
            await store.advance(turn(before, 7, vm(2), operation(1), steps=[step(1, 7)], log=[logged(7)]))
    assert await world.known.position("EVT") == 5
    assert list(await world.known.vms()) == [vm(1)]
    assert list(await world.known.operations()) == []
    assert list(await world.known.steps(CommandId(UUID(int=1)))) == []
    assert list(await world.known.history(after=Seq(0))) == []


async def test_a_fold_that_fails_leaves_nothing(world: World) -> None:
    store = await active(world)

    def broken(_: Rows) -> tuple[Rows, Sequence[StepView]]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await store.advance(turn(0, 1, vm(1), log=[logged(1)], fold=broken))
    assert await world.known.position("EVT") == 0
    assert list(await world.known.history(after=Seq(0))) == []
    await store.advance(turn(0, 1, vm(1)))


async def test_turns_of_two_streams_at_once_do_not_undo_each_other(world: World) -> None:
    store = await active(world)

    def count(rows: Rows) -> tuple[Rows, Sequence[StepView]]:
        before = rows.operations.get(CommandId(UUID(int=1))) or operation(1, seq=0)
        return rows_of(before.model_copy(update={"seq": before.seq + 1})), ()

    async def count_on(stream: str) -> None:
        for seq in range(20):
            await store.advance(turn(seq, seq + 1, operation(1), stream=stream, fold=count))

    await asyncio.gather(count_on("EVT"), count_on("CMD"))
    assert await world.known.operation(CommandId(UUID(int=1))) == operation(1, seq=40)


async def test_one_is_active_until_it_lets_go(world: World) -> None:
    with pytest.raises(Fenced):
        await world.store.advance(turn(0, 1, vm(1)))
    winners = await asyncio.gather(world.store.acquire(), world.rival.acquire())
    assert sorted(winners) == [False, True]
    first, second = (world.store, world.rival) if winners[0] else (world.rival, world.store)
    assert await first.acquire()
    assert not await second.acquire()
    with pytest.raises(Fenced):
        await second.advance(turn(0, 1, vm(1)))
    await first.release()
    assert await second.acquire()
    assert not await first.acquire()
    await second.advance(turn(0, 1, vm(1)))


async def test_vms_are_listed_by_id_without_the_deleted(world: World) -> None:
    store = await active(world)
    gone = vm(2, phase=VmPhase.DELETED, name="web")
    await store.advance(turn(0, 1, vm(3, name="web"), gone, vm(1), vm(4)))
    assert [view.vm_id.int for view in await world.known.vms()] == [1, 3, 4]
    assert [view.vm_id.int for view in await world.known.vms(limit=2)] == [1, 3]
    assert [view.vm_id.int for view in await world.known.vms(after=VmId(UUID(int=2)), limit=1)] == [3]
    assert [view.vm_id.int for view in await world.known.vms(name="web")] == [3]
    assert list(await world.known.vms(name="none")) == []
    assert await world.known.vm(gone.vm_id) == gone


async def test_hosts_are_listed_by_id(world: World) -> None:
    store = await active(world)
    await store.advance(turn(0, 1, host(3), host(1), host(2)))
    assert list(await world.known.hosts()) == [host(1), host(2), host(3)]
    assert list(await world.known.hosts(after=HostId(UUID(int=1)), limit=1)) == [host(2)]
    assert list(await world.known.hosts(name="host-3")) == [host(3)]
    assert list(await world.known.hosts(name="none")) == []


async def test_operations_are_listed_youngest_first_page_by_page(world: World) -> None:
    store = await active(world)
    nameless = [operation(number, accepted_at=None) for number in (8, 9)]
    twins = [operation(number, accepted_at=NOON) for number in (6, 7)]
    other = operation(3, vm_id=VmId(UUID(int=2)))
    await store.advance(turn(0, 1, *nameless, *twins, operation(1), operation(2), other))
    order = [9, 8, 3, 2, 1, 7, 6]
    assert [view.operation_id.int for view in await world.known.operations()] == order
    paged: list[OperationView] = []
    while page := await world.known.operations(before=paged[-1].operation_id if paged else None, limit=2):
        paged.extend(page)
    assert [view.operation_id.int for view in paged] == order
    of_one = await world.known.operations(vm_id=VmId(UUID(int=2)))
    assert list(of_one) == [other]


async def test_history_is_read_by_vm_by_host_and_in_pages(world: World) -> None:
    store = await active(world)
    one, two, here = VmId(UUID(int=1)), VmId(UUID(int=2)), HostId(UUID(int=7))
    body = {"type": "vm.placed", "data": {"nested": [1, None, "ü"]}}
    events = [
        logged(1, vm_id=one, type="vm.created", event_id=UUID(int=5), time=NOON, actor="ann"),
        logged(2, vm_id=one, host_id=here, body=body, causation_id=UUID(int=6)),
        logged(3, vm_id=two, host_id=here, correlation_id=UUID(int=6)),
        logged(4),
    ]
    await store.advance(turn(0, 4, log=events))
    assert list(await world.known.history(after=Seq(0))) == events
    assert list(await world.known.history(after=Seq(1), limit=2)) == events[1:3]
    assert list(await world.known.history(vm_id=one, after=Seq(0))) == events[:2]
    assert list(await world.known.history(host_id=here, after=Seq(2))) == [events[2]]
    assert list(await world.known.history(vm_id=one, host_id=here, after=Seq(0))) == [events[1]]


async def test_a_page_of_history_has_a_most_of_bytes(world: World) -> None:
    store = await active(world)
    half = b"x" * (HISTORY_BYTES_MAX // 2)
    sizes = [half, half, b"x", half + half + b"x", b"", half]
    events = [logged(seq, type="vm.created") for seq in range(1, 7)]
    for before, logged_one in enumerate(zip(events, sizes, strict=True)):
        await store.advance(replace(turn(before, before + 1), logged=[logged_one]))
    pages, after = [], Seq(0)
    while page := await world.known.history(after=after):
        pages.append([event.seq for event in page])
        after = Seq(page[-1].seq)
    assert pages == [[1, 2], [3], [4], [5, 6]]
    assert list(await world.known.history(after=Seq(0), limit=1)) == events[:1]


async def test_a_page_has_a_most(world: World) -> None:
    store = await active(world)
    count = PAGE_MAX + 1
    for before in range(0, count, 100):
        after = min(count, before + 100)
        await store.advance(turn(before, after, *map(vm, range(before + 1, after + 1))))
    assert len(await world.known.vms(limit=count)) == PAGE_MAX
