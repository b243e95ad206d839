"""What ends a service, and how a supervisor learns of it."""

import asyncio

import pytest

from infra.runtime.health import Health
from infra.runtime.service import Service, TaskEnded, background


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


async def test_the_background_ends_with_the_block() -> None:
    async with background(forever()):
        pass
