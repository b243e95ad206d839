"""What only PostgreSQL can do to a writer: keep bytes, drop a lock, leave a statement in doubt."""

from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events.ids import CommandId
from infra.readmodel.door import transaction
from infra.readmodel.engine import make_engine
from infra.readmodel.port import Fenced
from infra.readmodel.postgres import PostgresReadModel
from infra.readmodel.writer import PostgresProjectionStore
from infra.runtime.errors import Unavailable
from tests.contract.test_readmodel import NOON, logged, operation, turn, vm
from tests.support.eventually import eventually


async def test_event_bytes_are_kept_exactly(postgres_engine: AsyncEngine) -> None:
    store = PostgresProjectionStore(postgres_engine)
    assert await store.acquire()
    await store.advance(turn(0, 1, log=[logged(1)]))
    async with transaction(postgres_engine) as connection:
        assert await connection.scalar(text("SELECT raw FROM event_log")) == b"raw \x00 bytes"
    await store.release()


async def test_one_that_was_overtaken_unawares_stores_nothing(postgres_dsn: str) -> None:
    engine = make_engine(postgres_dsn, "test")
    store, rival = PostgresProjectionStore(engine), PostgresProjectionStore(engine)
    assert await store.acquire()
    await store.advance(turn(0, 1, operation(1)))
    async with transaction(engine) as connection:
        others = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
        await connection.execute(text(others))
    await eventually(rival.acquire, "the lock is free")
    await rival.advance(turn(1, 2, operation(1, verb="stop")))
    store._lock_lost = lambda: False  # its socket has not told it yet
    for stream, before in (("EVT", 2), ("CMD", 0)):
        with pytest.raises(Fenced):
            await store.advance(turn(before, before + 1, operation(1), stream=stream))
    assert await PostgresReadModel(engine).operation(CommandId(UUID(int=1))) == operation(1, verb="stop")
    assert await rival.position("CMD") == 0
    await rival.release()
    await store.release()
    await engine.dispose()


async def test_a_turn_in_doubt_ends_the_tenure(postgres_dsn: str) -> None:
    """It may come true beside a turn of the other stream, in the same rows: a new name waits for it."""
    engine = make_engine(postgres_dsn, "test", statement_timeout_s=0.5)
    store = PostgresProjectionStore(engine)
    assert await store.acquire()
    await store.advance(turn(0, 1, operation(1)))
    async with transaction(engine) as holding:
        await holding.execute(text("SELECT FROM checkpoint WHERE stream = 'EVT' FOR UPDATE"))
        with pytest.raises(Unavailable):
            await store.advance(turn(1, 2, operation(1)))
        with pytest.raises(Fenced):
            await store.advance(turn(0, 1, operation(1), stream="CMD"))
    await eventually(store.acquire, "the server has let the lock go")
    await store.advance(turn(0, 1, operation(1), stream="CMD"))
    await store.advance(turn(1, 2, operation(1)))
    await store.release()
    await engine.dispose()


async def test_a_lock_whose_connection_was_lost_is_lost(postgres_engine: AsyncEngine) -> None:
    store = PostgresProjectionStore(postgres_engine)
    assert await store.acquire()
    async with transaction(postgres_engine) as connection:
        others = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
        await connection.execute(text(others))
    await eventually(lambda: not store.active, "the loop hears of it from the socket")
    with pytest.raises(Fenced):
        await store.advance(turn(0, 1))
    assert await store.acquire()
    await store.advance(turn(0, 1))
    await store.release()


async def test_a_row_of_the_last_release_is_read_and_written_anew(postgres_engine: AsyncEngine) -> None:
    """It knew neither a spec nor anything of the run: its statements leave out those columns."""
    async with transaction(postgres_engine) as connection:
        await connection.execute(
            text(
                "INSERT INTO vms (vm_id, name, vcpus, memory_mib, image, desired, phase, generation,"
                " created_at, changed_at, ctl_seq, seq)"
                " VALUES (:id, 'vm-1', 2, 512, 'debian', 'running', 'running', 0, :noon, :noon, 1, 1)"
            ),
            {"id": vm(1).vm_id, "noon": NOON},
        )
    reads = PostgresReadModel(postgres_engine)
    assert list(await reads.vms()) == [await reads.vm(vm(1).vm_id)] == [vm(1)]
    store = PostgresProjectionStore(postgres_engine)
    assert await store.acquire()
    await store.advance(turn(0, 1, vm(1), fold=lambda rows: (rows, ())))
    async with transaction(postgres_engine) as connection:
        assert await connection.scalar(text("SELECT spec->>'name' FROM vms")) == "vm-1"
    await store.release()
