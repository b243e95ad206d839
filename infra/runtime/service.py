"""The life of a process: start its tasks, wait for a signal or a death, stop everything in order."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import structlog

from infra.runtime.health import Health, serve

STOP_TIMEOUT_S = 10.0


class Service:
    """Owns the tasks of one process. A task that ends by itself, or fails, ends the service."""

    def __init__(self, name: str, health: Health) -> None:
        self.name = name
        self.health = health
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run *work* for as long as the service lives."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(lambda _: self._stop.set())
        self._tasks.append(task)

    def stop(self) -> None:
        """Ask the service to end."""
        self._stop.set()

    async def run(self) -> None:
        """Wait until told to stop or until a task ends, then cancel the rest; raise what a task raised."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        structlog.get_logger().info("service_started", name=self.name)
        await self._stop.wait()
        failed = [task for task in self._tasks if task.done() and not task.cancelled() and task.exception()]
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_TIMEOUT_S)
        structlog.get_logger().info("service_stopped", name=self.name)
        for task in failed:
            task.result()


@asynccontextmanager
async def background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run *work* beside the block, and end it with the block."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


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
            await service.run()

    asyncio.run(life())
