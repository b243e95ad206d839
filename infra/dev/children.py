"""Keep roost's services running as child processes, as a supervisor would in production."""

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from infra.embedded.process import Process, answers, free_port, start
from infra.runtime.errors import Unavailable

RESTART_WAIT_S = 0.5
RESTARTS_MAX = 20
"""Restarts of one service in one run; then it is given up, and the run with it."""
WATCH_S = 0.2
READY_TIMEOUT_S = 30.0
ANSWER_TIMEOUT_S = 2.0


@dataclass
class Child:
    """One service: how it is started, and the process that runs now."""

    name: str
    module: str
    args: Sequence[str]
    env: Mapping[str, str]
    log: Path
    health_port: int
    process: Process | None = None
    restarts: int = 0

    def launch(self) -> None:
        """Start it, again if need be."""
        command = [sys.executable, "-m", self.module, *self.args]
        self.process = start(self.name, command, log=self.log, env=self.env)

    @property
    def pid(self) -> int:
        """The process that runs now."""
        assert self.process is not None
        return self.process.popen.pid


@dataclass
class Children:
    """The services of one run, in the order in which they were added."""

    logs: Path
    restarts_max: int = RESTARTS_MAX
    children: dict[str, Child] = field(default_factory=dict)

    def add(self, name: str, module: str, env: Mapping[str, str], args: Sequence[str] = ()) -> Child:
        """Start a service with a health port of its own."""
        port = free_port()
        child = Child(
            name,
            module,
            args,
            {**env, "ROOST_HEALTH_PORT": str(port)},
            self.logs / f"{name}.log",
            port,
        )
        self.children[name] = child
        child.launch()
        return child

    async def ready(self) -> None:
        """Wait until every service says that it is ready; raises Unavailable with the reason."""
        for child in self.children.values():
            deadline = asyncio.get_running_loop().time() + READY_TIMEOUT_S
            while not await is_ready(child.health_port):
                process = child.process
                ended = process is None or process.popen.poll() is not None
                if ended or asyncio.get_running_loop().time() > deadline:
                    tail = "\n".join(child.log.read_text(errors="replace").splitlines()[-15:])
                    why = "ended" if ended else f"not ready after {READY_TIMEOUT_S:g} s"
                    raise Unavailable(child.name, f"{why}; the end of {child.log}:\n{tail}")
                await asyncio.sleep(WATCH_S / 4)

    async def watch(self, say: Callable[[str], None]) -> None:
        """Start again what ended, and say so; raises Unavailable when one ends too often."""
        while True:
            await asyncio.sleep(WATCH_S)
            for child in self.children.values():
                if child.process is None or child.process.popen.poll() is None:
                    continue
                code = child.process.popen.returncode
                if child.restarts >= self.restarts_max:
                    raise Unavailable(child.name, f"ended {child.restarts + 1} times; see {child.log}")
                child.restarts += 1
                say(f"{child.name} ended with {code} and is started again; see {child.log}")
                await asyncio.sleep(RESTART_WAIT_S)
                child.launch()

    def stop(self) -> None:
        """Stop all, the last one first."""
        for child in reversed(self.children.values()):
            process, child.process = child.process, None
            if process is not None:
                process.stop()


async def is_ready(port: int) -> bool:
    """Ask a service on its health port whether it is ready."""
    if not answers(port):
        return False
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(b"GET /readyz HTTP/1.1\r\n\r\n")
                return b" 200 " in await reader.readline()
            finally:
                writer.close()
    except OSError:  # a time-out is one too
        return False
