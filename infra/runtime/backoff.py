"""Wait between tries, longer each time, and speak once an outage, not once a try."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from infra.runtime.errors import Unavailable
from infra.runtime.health import Health

BACKOFF_FIRST_S = 0.05
BACKOFF_MOST_S = 2.0

T = TypeVar("T")


def delays_s(first: float = BACKOFF_FIRST_S, most: float = BACKOFF_MOST_S) -> "Delays":
    """Start a series of waits that double up to *most*."""
    return Delays(first, most)


class Delays:
    """A series of waits in seconds."""

    def __init__(self, first: float, most: float) -> None:
        self._most, self._next = most, first

    def next(self) -> float:
        """Give the next wait."""
        now, self._next = self._next, min(self._next * 2, self._most)
        return now


async def persist(health: Health, part: str, attempt: Callable[[], Awaitable[T]]) -> T:
    """Try until it works, however long the other side is away.

    The one unbounded retry of roost: a service has nothing better to do than to wait for what it lives on.
    Each wait is bounded; *part* is not ready meanwhile, and each outage is logged once when it begins and
    once when it ends.
    """
    waits = delays_s()
    log = structlog.get_logger()
    task = asyncio.current_task()
    holder = task.get_name() if task is not None else ""
    while True:
        try:
            result = await attempt()
        except Unavailable as err:
            if health.down(part, str(err), holder):
                log.warning("outage_began", part=part, reason=err.why)
            try:
                await asyncio.sleep(waits.next())
            except asyncio.CancelledError:
                health.up(part, holder)  # Who waits no more needs it no more.
                raise
        else:
            if health.up(part, holder):
                log.info("outage_ended", part=part)
            return result
