"""Find callbacks that hold up an event loop: on the loop of every test, and of the services that tests start.

What counts is the time in which the thread computed or was blocked. The time in which it could have run but
another one had the CPU does not: that is the machine's doing, and the kernel keeps book of it (the second
number of /proc/thread-self/schedstat; Documentation/scheduler/sched-stats). Nor does the time in which it did
not compute while another machine had the CPU, or while another thread of the process waited for one: that may
have had the interpreter, or a lock that we were waiting for.
"""

import asyncio
import gc
import os
import shutil
import subprocess
import threading
import time
from asyncio.events import Handle
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from types import CoroutineType
from typing import Any, ParamSpec, TypeVar

import pytest
import structlog

from infra.embedded.postgres import EmbeddedPostgres
from infra.embedded.process import Process

P = ParamSpec("P")
R = TypeVar("R")
LIMIT_S = 0.05
NS = 1e9
TICKS = os.sysconf("SC_CLK_TCK")
LOOK_S = 0.01
"""How old a look at what others had may be: it costs as much as a small callback."""
THREADS = Path("/proc/self/task")
STOLEN = 8
"""The column of /proc/stat with the time that other machines had a CPU of ours; proc_stat(5)."""


class Bookkeeper(threading.local):
    """What the kernel and we know of the time of the running thread."""

    def __init__(self) -> None:
        self._schedstat = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
        self._stat = os.open("/proc/stat", os.O_RDONLY)
        self.excused_s = 0.0
        self._excusing = False

    def queued_s(self) -> float:
        """Say for how long the thread has waited for a CPU since it began."""
        return int(os.pread(self._schedstat, 64, 0).split()[1]) / NS

    def elsewhere(self) -> dict[str, float]:
        """Say for how long others had CPUs of ours, and each other thread of ours has waited for one."""
        found = {"stolen": int(os.pread(self._stat, 128, 0).split()[STOLEN]) / TICKS}
        for thread in THREADS.iterdir():
            if thread.name != str(threading.get_native_id()):
                with suppress(FileNotFoundError, ProcessLookupError):  # It has just ended.
                    found[thread.name] = int((thread / "schedstat").read_text().split()[1]) / NS
        return found

    @contextmanager
    def excuse(self) -> Iterator[None]:
        """Leave out what happens within, once, however deep."""
        if self._excusing:
            yield
            return
        self._excusing, began, queued = True, time.perf_counter(), self.queued_s()
        try:
            yield
        finally:
            self._excusing = False
            self.excused_s += time.perf_counter() - began - (self.queued_s() - queued)


class Watch:
    """Measures every callback of every loop in this process, and tells *report* of each that held it up."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self.report = report
        self.on = True
        self.books = Bookkeeper()

    def install(self) -> None:
        """Begin to measure. There is no way back: the process is watched until it ends.

        Who starts a thread or a process waits until it has had a CPU: that, too, is the machine's doing.
        """
        self.excuse(threading.Thread, "start")
        self.excuse(subprocess.Popen, "__init__")
        run, books, now = Handle._run, self.books, time.perf_counter
        elsewhere, looked = books.elsewhere(), now()

        def measured(handle: Handle) -> None:
            if not self.on:
                run(handle)
                return
            callback = handle._callback  # type: ignore[attr-defined]
            nonlocal elsewhere, looked
            if now() - looked > LOOK_S:
                elsewhere, looked = books.elsewhere(), now()
            queued, excused, cpu, began = books.queued_s(), books.excused_s, time.thread_time(), now()
            run(handle)
            wall = now() - began
            if wall < LIMIT_S:
                return
            cpu = time.thread_time() - cpu
            held = wall - (books.queued_s() - queued) - (books.excused_s - excused)
            if held < LIMIT_S:
                return
            excused = sum(waited - elsewhere.get(who, 0.0) for who, waited in books.elsewhere().items())
            if held - min(max(held - cpu, 0.0), excused) >= LIMIT_S:
                spent = f"{held * 1000:.0f} ms, {cpu * 1000:.0f} of them computing"
                self.report(f"{spent}: {described(callback)}")

        Handle._run = measured  # type: ignore[method-assign,assignment]

    def excused(self, function: Callable[P, R]) -> Callable[P, R]:
        """Leave out the time that *function* takes."""

        @wraps(function)
        def left_out(*args: P.args, **kwargs: P.kwargs) -> R:
            with self.books.excuse():
                return function(*args, **kwargs)

        return left_out

    def excuse(self, owner: Any, name: str) -> None:
        """Leave out the time spent in a function of *owner*."""
        setattr(owner, name, self.excused(getattr(owner, name)))


def described(callback: Any) -> str:
    """Name a callback and where it is defined; of a task also where it waits now, if it does."""
    task = getattr(callback, "__self__", None)
    if not isinstance(task, asyncio.Task):
        plain = getattr(callback, "func", callback)
        return f"{getattr(plain, '__qualname__', plain)!s} at {_place(getattr(plain, '__code__', None))}"
    work, waits = task.get_coro(), ""
    inner = work
    while isinstance(inner, CoroutineType) and isinstance(inner.cr_await, CoroutineType):
        inner = inner.cr_await
    if isinstance(inner, CoroutineType) and inner.cr_frame is not None:
        waits = f", up to {inner.cr_code.co_filename}:{inner.cr_frame.f_lineno}"
    code = getattr(work, "cr_code", None)
    return f"{getattr(work, '__qualname__', work)!s} at {_place(code)}{waits}"


def _place(code: Any) -> str:
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else "C code"


_found: list[str] = []


def _note(what: str) -> None:
    """Keep what held up a loop, but for the setting up of a fixture: that writes files, starts servers."""
    if "_fixture_wrapper" not in what:
        _found.append(what)


_watch = Watch(_note)
excused = _watch.excused
"""Decorates what starts or ends a server: no service does that while it serves."""


def pytest_configure() -> None:
    """Watch the process of the tests.

    Left out is what no service does while it serves: to start and end servers (the kernel ends them with the
    thread that forks, so this cannot go to another one), to remove a test's folder, and to collect garbage.
    """
    for owner, name in (
        (shutil, "rmtree"),
        *((Process, name) for name in ("wait_until", "stop", "kill")),
        *((EmbeddedPostgres, name) for name in ("__init__", "start", "remove")),
    ):
        _watch.excuse(owner, name)
    gc.callbacks.append(_excuse_collection())
    # By default it draws tracebacks, which takes 70 ms; services write theirs as JSON.
    structlog.configure(
        processors=[structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    _watch.install()


def pytest_collection_finish() -> None:
    """Take all tests out of what is looked through for garbage, as services do with what they are made of.

    It takes 0.15 s at a time (measured). Where another thread begins it, the loop only waits.
    """
    gc.collect()
    gc.freeze()


def _excuse_collection() -> Callable[[str, dict[str, int]], None]:
    running: list[Any] = []

    def collecting(phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            running.append(_watch.books.excuse())
            running[-1].__enter__()
        elif running:
            running.pop().__exit__(None, None, None)

    return collecting


@pytest.fixture(autouse=True)
def no_slow_callbacks(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Fail a test on whose loops a callback took LIMIT_S or more; a test that means to takes them out.

    Not where the test's own loop only drives processes, each of which is watched by itself.
    """
    _found.clear()
    yield _found
    if request.node.get_closest_marker("drives_processes") is None:
        complain(_found)


def complain(found: list[str]) -> None:
    """Fail if anything was *found*."""
    if found:
        pytest.fail(f"the event loop was held up, the most is {LIMIT_S * 1000:g} ms:\n" + "\n".join(found))
