"""What holds up an event loop is found and named; what waits for a CPU is not blamed."""

import asyncio
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.process import ROOT
from tests.support.slow_callbacks import LIMIT_S

TRIES_MAX = 100
LONG_S = LIMIT_S * 4
"""Well above the limit: what the machine takes meanwhile is left out."""


def compute(seconds: float) -> None:
    """Use a CPU for so long, whoever else wants it."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


async def test_a_busy_loop_is_found_and_named(no_slow_callbacks: list[str]) -> None:
    asyncio.get_running_loop().call_soon(compute, LONG_S)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    (found,) = no_slow_callbacks
    no_slow_callbacks.clear()
    assert f"compute at {__file__}:{compute.__code__.co_firstlineno}" in found


async def test_a_task_that_blocks_is_found_with_where_it_came_to(no_slow_callbacks: list[str]) -> None:
    async def blocks() -> None:
        select.select([], [], [], LONG_S)
        await asyncio.sleep(0)

    await asyncio.gather(blocks())
    (found,) = no_slow_callbacks
    no_slow_callbacks.clear()
    assert "blocks at" in found
    assert f"up to {asyncio.tasks.__file__}" in found


@pytest.fixture
def rivals() -> Iterator[None]:
    """Share one CPU with others who never let go of it."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})  # for us and, inherited, for them
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(8)]
    yield
    for one in busy:
        one.kill()
        one.wait()
    os.sched_setaffinity(0, allowed)


@pytest.mark.usefixtures("rivals")
async def test_who_waits_for_a_cpu_is_not_blamed(no_slow_callbacks: list[str]) -> None:
    longest = 0.0

    def a_little() -> None:
        nonlocal longest
        began = time.perf_counter()
        compute(LIMIT_S / 3)
        longest = max(longest, time.perf_counter() - began)

    for _ in range(10):
        asyncio.get_running_loop().call_soon(a_little)
        await asyncio.sleep(0)
    assert longest > LIMIT_S, "there was no competition"
    assert no_slow_callbacks == []


@pytest.mark.usefixtures("rivals")
async def test_who_waits_for_a_thread_that_waits_for_a_cpu_is_not_blamed(
    no_slow_callbacks: list[str],
) -> None:
    lock, has_it, seen = threading.Lock(), threading.Event(), threading.Event()
    longest = 0.0

    def hold() -> None:
        with lock:
            has_it.set()
            compute(LIMIT_S / 2)
        seen.wait()  # As workers do: of a thread that has ended nothing is known.

    def want() -> None:
        nonlocal longest
        began = time.perf_counter()
        with lock:
            longest = max(longest, time.perf_counter() - began)

    for _ in range(TRIES_MAX):
        if longest > LIMIT_S:
            break
        has_it.clear()
        seen.clear()
        holder = threading.Thread(target=hold)
        holder.start()
        await asyncio.to_thread(has_it.wait)
        asyncio.get_running_loop().call_soon(want)
        await asyncio.sleep(0)
        seen.set()
        holder.join()
    assert longest > LIMIT_S, "there was no competition"
    assert no_slow_callbacks == []


SERVICE = """
import asyncio, sys, time
from infra.runtime.health import Health
from infra.runtime.service import run_service

async def work():
    if sys.argv[1:] == ["slow"]:
        time.sleep({long})
    await asyncio.sleep(0)

async def build(service, stack):
    time.sleep({long})
    service.spawn("work", work())

run_service("planted", build, Health(), None)
"""


def watched(folder: Path, *args: str) -> str:
    """Run a service that lives for a moment; give what was slow."""
    (folder / "planted.py").write_text(SERVICE.format(long=LONG_S))
    file = folder / "slow"
    env = os.environ | {"WATCHED_FILE": str(file), "PYTHONPATH": f"{folder}:{ROOT}"}
    command = [sys.executable, "-m", "tests.support.watched", "planted", *args]
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "work came to an end" in done.stderr
    return file.read_text() if file.exists() else ""


def test_a_services_loop_is_watched_from_when_it_serves(tmp_path: Path) -> None:
    assert watched(tmp_path) == ""
    assert "work at" in watched(tmp_path, "slow")
