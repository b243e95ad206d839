"""`roost dev` as a person meets it: a ready line, Ctrl-C, the same data again, a death without warning."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from infra.dev.folders import scratch
from tests.e2e.world import alive, descendants
from tests.support.eventually import eventually

READY_S = 60.0
GONE_S = 10.0


@pytest.fixture
def folder() -> Iterator[Path]:
    with scratch("roost-dev-") as made:
        yield made


@asynccontextmanager
async def dev(folder: Path, *args: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Run `roost dev` in *folder* until its ready line; give it and what it printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.cli.main", "dev", "--hypervisor", "sim", "--port", "0", *args),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=folder,
        env={**os.environ, "TMPDIR": str(folder)},  # what a killed one leaves goes with the test
    )
    assert process.stdout is not None
    printed = ""
    try:
        async with asyncio.timeout(READY_S):
            while "Stop: Ctrl-C" not in printed:
                line = (await process.stdout.readline()).decode()
                assert line, f"ended before it was ready:\n{printed}"
                printed += line
        yield process, printed
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def roost(folder: Path, *args: str) -> str:
    """Run the command line in *folder*, which tells it where the API is and what the token is."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.cli.main", *args),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=folder,
        env={key: value for key, value in os.environ.items() if not key.startswith("ROOST_")},
    )
    out, _ = await asyncio.wait_for(process.communicate(), READY_S)
    assert process.returncode == 0, out.decode()
    return out.decode()


async def test_the_second_run_continues_where_the_first_stopped(folder: Path) -> None:
    async with dev(folder) as (process, printed):
        assert "HOSTS ARE SIMULATED" in printed
        await roost(folder, *["vm", "create", "kept", "--image", "tiny", "--cpu", "1", "--memory", "128M"])
        await roost(folder, "vm", "start", "kept")
        children = descendants(process.pid)
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), GONE_S) == 0
        assert [one for one in children if alive(one)] == []
    async with dev(folder) as (process, _):
        assert "kept" in await roost(folder, "vm", "list")
        await roost(folder, "vm", "stop", "kept")
        await roost(folder, "vm", "delete", "kept")
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), GONE_S) == 0


async def test_killed_without_warning_it_leaves_no_process(folder: Path) -> None:
    async with dev(folder, "--ephemeral") as (process, _):
        children = descendants(process.pid)
        assert len(children) >= 6
        process.kill()
        await process.wait()

        async def gone() -> bool:
            return not any(alive(one) for one in children)

        await eventually(gone, "every process gone", GONE_S)


async def test_two_on_the_same_data_are_refused(folder: Path) -> None:
    async with dev(folder):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services.cli.main", "dev", "--hypervisor", "sim"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=folder,
        )
        out, _ = await asyncio.wait_for(process.communicate(), READY_S)
        assert process.returncode == 78
        assert "in use by another roost dev" in out.decode()
