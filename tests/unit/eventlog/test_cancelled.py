"""Who is told to end while an answer comes ends."""

import asyncio

import pytest

from infra.eventlog.pull import ended_if_told

PATIENCE_S = 5.0


async def asked(answer: asyncio.Future[str]) -> str:
    """Wait as the library does."""
    return await ended_if_told(asyncio.wait_for(answer, PATIENCE_S))


async def test_an_answer_is_given() -> None:
    answer = asyncio.get_running_loop().create_future()
    answer.set_result("here")
    assert await asked(answer) == "here"


@pytest.mark.parametrize("told", ["before", "with", "without"])
async def test_who_is_told_to_end_as_the_answer_comes_ends(told: str) -> None:
    answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(asked(answer))
        await asyncio.sleep(0)
        if told == "with":
            answer.set_result("in the same turn")
        task.cancel()
        if told == "before":
            answer.cancel()
    assert task.cancelled()


async def test_a_bound_on_the_wait_is_a_bound_though_the_answer_comes_then() -> None:
    answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def bounded() -> str:
        async with asyncio.timeout(0):
            asyncio.get_running_loop().call_soon(answer.set_result, "in the same turn")
            return await asked(answer)

    with pytest.raises(TimeoutError):
        await bounded()


async def test_who_was_told_before_may_still_ask_for_what_its_end_needs() -> None:
    answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    heard: list[str] = []

    async def life() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            heard.append(await asked(answer))

    async with asyncio.TaskGroup() as group:
        task = group.create_task(life())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        answer.set_result("last words")
    assert heard == ["last words"]
