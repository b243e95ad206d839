"""What ends a service, and how a supervisor learns of it."""

import asyncio
import subprocess
import sys

import pytest

from infra.runtime.health import Health
from infra.runtime.service import Service, TaskEnded, background, beside
from tests.support.process import ROOT


async def forever() -> None:
    await asyncio.Event().wait()


async def test_a_task_that_fails_ends_the_service_with_its_error() -> None:
    async def fails() -> None:
        raise ValueError("a defect")

    service = Service("test", Health())
    service.spawn("forever", forever())
    service.spawn("fails", fails())
    with pytest.raises(ValueError, match="a defect"):
        await service.run()


async def test_a_task_that_comes_to_an_end_is_a_failure_too() -> None:
    async def ends() -> None:
        pass

    service = Service("test", Health())
    service.spawn("ends", ends())
    with pytest.raises(TaskEnded, match="ends came to an end"):
        await service.run()


async def test_a_service_that_is_told_that_it_must_end_says_why() -> None:
    service = Service("test", Health())
    service.spawn("forever", forever())
    service.fail("NATS closed the connection for good")
    with pytest.raises(TaskEnded, match="for good"):
        await service.run()


async def test_what_fails_in_the_background_ends_the_block() -> None:
    async def fails() -> None:
        raise ValueError("a defect")

    with pytest.raises(ExceptionGroup):
        async with background(fails()):
            await forever()


async def test_what_fails_beside_another_ends_it_and_is_raised_as_it_is() -> None:
    ended: list[str] = []

    async def fails() -> None:
        await asyncio.sleep(0)
        raise ValueError("a defect")

    async def waits() -> None:
        try:
            await forever()
        finally:
            ended.append("waits")

    with pytest.raises(ValueError, match="a defect"):
        await beside(fails(), waits())
    with pytest.raises(ValueError, match="a defect"):
        await beside(waits(), fails())
    assert ended == ["waits", "waits"]


async def test_what_both_raise_is_all_raised() -> None:
    async def fails(why: str) -> None:
        raise ValueError(why)

    with pytest.raises(ExceptionGroup) as found:
        await beside(fails("one"), fails("other"))
    assert [str(one) for one in found.value.exceptions] == ["one", "other"]


async def test_who_is_cancelled_ends_both_and_stays_cancelled_whatever_they_raise() -> None:
    ended: list[str] = []

    async def waits() -> None:
        try:
            await forever()
        finally:
            ended.append("waits")
            raise ValueError("a defect in the way out")

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await beside(waits(), waits())
    assert ended == ["waits", "waits"]


PLANTED = """
import asyncio, gc
from infra.runtime.health import Health
from infra.runtime.service import run_service

kept = []

async def work():
    before = gc.get_freeze_count()
    kept.extend([] for _ in range(1000))
    gc.collect(1)
    some = gc.get_freeze_count() - before
    gc.collect()
    print("frozen", some < 1000, gc.get_freeze_count() - before >= 1000)

async def build(service, stack):
    service.spawn("work", work())

run_service("planted", build, Health(), None)
"""


def test_what_a_full_collection_has_left_is_not_looked_at_again() -> None:
    command = [sys.executable, "-c", PLANTED]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "frozen True True" in done.stdout.splitlines(), done.stderr


async def test_the_background_ends_with_the_block() -> None:
    async with background(forever()):
        pass
