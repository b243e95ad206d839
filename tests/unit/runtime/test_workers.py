"""Workers keep their bound, their deadlines, and go on while some calls hang."""

import asyncio
import threading

import pytest

from infra.runtime.errors import Unavailable
from infra.runtime.workers import Overdue, Workers
from tests.support.eventually import eventually

SOON_S, AMPLE_S = 0.02, 20.0


async def test_a_call_gives_its_result_or_raises_its_error() -> None:
    workers = Workers("w", 1)
    assert await workers.run(AMPLE_S, max, 1, 2) == 2
    with pytest.raises(ZeroDivisionError):
        await workers.run(AMPLE_S, lambda: 1 // 0)
    workers.close()


async def test_no_more_calls_run_at_once_than_there_are_threads() -> None:
    workers, lock = Workers("w", 3), threading.Lock()
    now = most = 0

    def call() -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        threading.Event().wait(0.005)
        with lock:
            now -= 1

    await asyncio.gather(*(workers.run(AMPLE_S, call) for _ in range(20)))
    assert most == 3
    workers.close()


async def test_calls_that_hang_are_replaced_up_to_the_spares_and_no_further() -> None:
    workers, end = Workers("w", 1, spares=2), threading.Event()
    hung = []
    for _ in range(2):
        with pytest.raises(Overdue) as caught:
            await workers.run(SOON_S, end.wait)
        hung.append(caught.value.call)
        assert await workers.run(AMPLE_S, max, 1, 2) == 2
    with pytest.raises(Overdue):
        await workers.run(SOON_S, end.wait)
    with pytest.raises(Overdue) as waited:
        await workers.run(SOON_S, max, 1, 2)
    assert waited.value.call.cancelled()  # it never ran, and never will
    assert not any(call.done() for call in hung)
    end.set()
    await eventually(lambda: all(call.done() for call in hung), "the calls that hung")
    assert await workers.run(AMPLE_S, max, 1, 2) == 2
    workers.close()


async def test_after_a_hang_there_are_as_many_threads_as_before() -> None:
    name, end = "counted-workers", threading.Event()
    workers = Workers(name, 1, spares=1)

    def alive() -> int:
        return sum(thread.name == name for thread in threading.enumerate())

    with pytest.raises(Overdue):
        await workers.run(SOON_S, end.wait)
    await workers.run(AMPLE_S, max, 1, 2)
    assert alive() == 2
    end.set()
    await eventually(lambda: alive() == 1, "the replaced thread's end")
    workers.close()
    await eventually(lambda: alive() == 0, "the last thread's end")


async def test_closed_workers_take_no_call() -> None:
    workers = Workers("w", 1)
    workers.close()
    with pytest.raises(Unavailable, match="closed"):
        await workers.run(AMPLE_S, max, 1, 2)
