"""A service as the process that it is: start it, read what it says, kill it."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

WAIT_S = 20.0
ROOT = Path(__file__).parents[2]
WATCHED = "tests.support.watched"
"""What runs a service with an eye on its event loop."""


@asynccontextmanager
async def running_service(
    module: str, *argv: str, settings: Mapping[str, str], said: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `python -m MODULE`; what it says goes to *said*. It is killed at the end if it lives yet.

    The test fails where something held up the service's event loop.
    """
    slow = said.with_suffix(".slow")
    slow.unlink(missing_ok=True)
    with said.open("ab") as sink:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", WATCHED, module, *argv),
            env={**os.environ, **settings, "WATCHED_FILE": str(slow)},
            stderr=sink,
            cwd=ROOT,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    assert not slow.exists(), f"the event loop was held up:\n{slow.read_text()}"


async def refusal(module: str, *argv: str, settings: Mapping[str, str]) -> tuple[int | None, str]:
    """Run a service that cannot start; give its exit code and its words."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ROOST_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", module, *argv),
        env={**kept, **settings},
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    _, said = await asyncio.wait_for(process.communicate(), WAIT_S)
    return process.returncode, said.decode()
