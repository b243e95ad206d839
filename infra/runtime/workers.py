"""Run what blocks on threads of our own, each call with a deadline, so that no event loop ever waits."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from infra.runtime.errors import Unavailable

P = ParamSpec("P")
T = TypeVar("T")


class Workers:
    """A named, bounded set of threads."""

    def __init__(self, name: str, threads: int) -> None:
        self._name = name
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def run(self, timeout_s: float, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run *call* on a thread; raises Unavailable when it has no answer after *timeout_s*.

        The thread itself cannot be ended: a call that hangs keeps its thread until it returns.
        """
        future = self._pool.submit(call, *args, **kwargs)
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.wrap_future(future)
        except TimeoutError as err:
            raise Unavailable(self._name, f"no answer within {timeout_s:g} s") from err

    def close(self) -> None:
        """Take no more calls; do not wait for those under way."""
        self._pool.shutdown(wait=False, cancel_futures=True)
