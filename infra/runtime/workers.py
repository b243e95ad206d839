"""Run what blocks on threads of our own, each call with a deadline, so that no event loop ever waits."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from infra.runtime.errors import Unavailable

P = ParamSpec("P")
T = TypeVar("T")


class Overdue(Unavailable):
    """A call had no answer within its deadline; it is under way until *call* is done."""

    def __init__(self, what: str, why: str, call: "Future[Any]") -> None:
        super().__init__(what, why)
        self.call = call


@dataclass(eq=False)
class _Call:
    run: Callable[[], Any]
    future: "Future[Any]" = field(default_factory=Future)
    late: bool = False
    """Nobody waits for it any more, and its thread has been replaced."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Hand what the call raises to whoever waits for it, like a result: it is not this thread's."""
        if error is not None:
            self.future.set_exception(error)
        return True


class Workers:
    """A named, bounded set of threads, started as they are needed. They never hold up the process's end.

    A call that hangs keeps its thread, which cannot be ended. Up to *spares* such threads at a time are
    replaced, so that others go on; a thread that was replaced ends as soon as its call returns.
    """

    def __init__(self, name: str, threads: int, spares: int = 0) -> None:
        self._name = name
        self._threads = threads
        self._spares = spares
        self._waiting: deque[_Call] = deque()
        self._changed = threading.Condition()
        self._idle = 0
        self._alive = 0
        self._late = 0
        self._closed = False

    async def run(self, timeout_s: float, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run *call* on a thread; raises Overdue when it has no answer after *timeout_s*."""
        one = _Call(lambda: call(*args, **kwargs))
        self._take(one)
        try:
            async with asyncio.timeout(timeout_s):
                found: T = await asyncio.wrap_future(one.future)
                return found
        except TimeoutError as err:
            self._replace(one)
            raise Overdue(self._name, f"no answer within {timeout_s:g} s", one.future) from err

    def close(self) -> None:
        """Take no more calls; do not wait for those under way."""
        with self._changed:
            self._closed = True
            for one in self._waiting:
                one.future.cancel()
            self._waiting.clear()
            self._changed.notify_all()

    def _take(self, one: _Call) -> None:
        with self._changed:
            if self._closed:
                raise Unavailable(self._name, "closed")
            self._waiting.append(one)
            if self._idle < len(self._waiting) and self._alive - self._late < self._threads:
                self._start()
            self._changed.notify()

    def _replace(self, one: _Call) -> None:
        """Put another thread in the place of the one that *one* keeps."""
        with self._changed:
            if one.future.running() and not one.late and self._late < self._spares:
                one.late = True
                self._late += 1
                if self._waiting:
                    self._start()

    def _start(self) -> None:
        self._alive += 1
        threading.Thread(target=self._work, name=self._name, daemon=True).start()

    def _work(self) -> None:
        while (one := self._next()) is not None:
            with one:
                one.future.set_result(one.run())
            with self._changed:
                if one.late:
                    self._late -= 1
                    self._alive -= 1
                    return
            del one  # what it holds is not kept while we wait for the next

    def _next(self) -> _Call | None:
        """Wait for a call that is still wanted; None when there will be none."""
        with self._changed:
            while True:
                while not self._waiting:
                    if self._closed:
                        self._alive -= 1
                        return None
                    self._idle += 1
                    self._changed.wait()
                    self._idle -= 1
                one = self._waiting.popleft()
                if one.future.set_running_or_notify_cancel():
                    return one
