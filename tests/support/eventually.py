"""Wait for something that tells nobody: the one place of the tests that sleeps, and always with a bound."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from inspect import isawaitable

WITHIN_S = 60.0
LOOK_S = 0.02


async def eventually(
    holds: Callable[[], bool | Awaitable[bool]], what: str, within_s: float = WITHIN_S
) -> None:
    """Look until *holds*; fail with *what* was awaited when it does not within *within_s*."""
    deadline = asyncio.get_running_loop().time() + within_s
    while True:
        found = holds()
        if await found if isawaitable(found) else found:
            return
        assert asyncio.get_running_loop().time() < deadline, f"{what}: not within {within_s:g} s"
        await asyncio.sleep(LOOK_S)


async def moment(at_s: float) -> None:
    """Wait for a time of `time.perf_counter`: for a load at a rate, never for something to be so."""
    await asyncio.sleep(max(0.0, at_s - time.perf_counter()))


async def turns(count: int) -> None:
    """Let the other tasks of the loop have *count* turns."""
    for _ in range(count):
        await asyncio.sleep(0)
