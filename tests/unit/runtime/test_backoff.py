"""Whoever waits for what is away says so, until it is there or nobody waits for it any more."""

import asyncio

import pytest

from infra.runtime.backoff import persist
from infra.runtime.errors import Unavailable
from infra.runtime.health import Health


async def test_it_is_ready_again_when_what_was_away_is_there() -> None:
    health, left = Health(), [Unavailable("log", "no leader")] * 2

    async def attempt() -> str:
        if left:
            assert health.ready is (len(left) == 2)
            raise left.pop()
        return "there"

    assert await persist(health, "log", attempt) == "there"
    assert health.ready


async def test_who_is_told_to_stop_waiting_needs_it_no_more() -> None:
    health, tried = Health(), asyncio.Event()

    async def attempt() -> None:
        tried.set()
        raise Unavailable("log", "no leader")

    async with asyncio.TaskGroup() as group:
        task = group.create_task(persist(health, "log", attempt))
        await tried.wait()
        assert not health.ready
        task.cancel()
    assert health.ready


async def test_what_is_no_outage_is_raised() -> None:
    async def attempt() -> None:
        raise ValueError("a defect")

    with pytest.raises(ValueError, match="a defect"):
        await persist(Health(), "log", attempt)
