"""The life of a process: start its tasks, wait for a signal or a death, stop everything in order."""

import asyncio
import gc
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar

import structlog

from infra.runtime.errors import ConfigInvalid
from infra.runtime.health import Health, serve
from infra.runtime.settings import EX_CONFIG

T = TypeVar("T")

STOP_TIMEOUT_S = 10.0
OLDEST = 2
"""The last of the collector's generations: to collect it is to look at everything."""


class TaskEnded(Exception):
    """A task that should run for as long as the process came to an end, or told that it must."""


class Service:
    """Owns the tasks of one process. A task that ends by itself, or fails, ends the service with an error."""

    def __init__(self, name: str, health: Health) -> None:
        self.name = name
        self.health = health
        self._stop = asyncio.Event()
        self._failure: BaseException | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run *work* for as long as the service lives."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def fail(self, why: str) -> None:
        """End the service with an error, so that a supervisor starts it again."""
        self._failure = self._failure or TaskEnded(why)
        self._stop.set()

    async def run(self) -> None:
        """Wait until told to stop or until a task ends, then cancel the rest; raise what ended it."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        structlog.get_logger().info("service_started", name=self.name)
        await self._stop.wait()
        failure = self._failure  # what comes of cancelling is no failure
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_TIMEOUT_S)
        structlog.get_logger().info("service_stopped", name=self.name)
        if failure is not None:
            raise failure

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self._failure is None and not self._stop.is_set() and not task.cancelled():
            self._failure = task.exception() or TaskEnded(f"{task.get_name()} came to an end")
        self._stop.set()


@asynccontextmanager
async def background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run *work* beside the block and end it with the block; if it fails first, the block ends and fails."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work)
        try:
            yield
        finally:
            task.cancel()


async def beside(work: Coroutine[Any, Any, None], other: Coroutine[Any, Any, T]) -> T:
    """Do both at once, and give what *other* gives; the first that fails ends both.

    What one raises is raised as it is, what both raise as an ExceptionGroup. Who is cancelled ends both and
    stays cancelled, whatever they raise then: a TaskGroup would raise that and forget the cancellation.
    """
    task = asyncio.current_task()
    assert task is not None, "a coroutine runs in a task"
    name = task.get_name()  # What either says of what it needs, it says for this one.
    first, second = asyncio.create_task(work, name=name), asyncio.create_task(other, name=name)
    try:
        await asyncio.wait((first, second), return_when=asyncio.FIRST_EXCEPTION)
    finally:
        first.cancel()
        second.cancel()
        ended = await asyncio.gather(first, second, return_exceptions=True)
    failed = [one for one in ended if isinstance(one, Exception)]
    if len(failed) > 1:
        raise ExceptionGroup("both failed", failed)
    if failed:
        raise failed[0]
    first.result()
    return second.result()


def _collect_little() -> None:
    """Have a collection of garbage look at what is new alone: one that looked at all would stop the loop.

    What a full collection has left stays out of the next ones: with 100,000 VMs they took up to 0.6 s
    (measured). Garbage in cycles that was in use just then is never found: 64 objects after 49,000 starts.
    """
    gc.collect()
    gc.freeze()
    gc.callbacks.append(_keep_what_is_left)


def _keep_what_is_left(phase: str, info: dict[str, int]) -> None:
    if phase == "stop" and info["generation"] == OLDEST:
        gc.freeze()


def run_service(
    name: str, build: Callable[[Service, AsyncExitStack], Awaitable[None]], health: Health, port: int | None
) -> None:
    """Build a service and live until it is told to stop; what *build* put on the stack is closed last."""

    async def life() -> None:
        service = Service(name, health)
        async with AsyncExitStack() as stack:
            if port is not None:
                server = await serve(health, port)
                stack.callback(server.close)
            await build(service, stack)
            _collect_little()
            await service.run()

    try:
        asyncio.run(life())
    except ConfigInvalid as err:
        sys.stderr.write(f"error: {err}\nMend the setting, start again.\n")
        raise SystemExit(EX_CONFIG) from err
