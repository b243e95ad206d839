"""A whole roost for end-to-end tests, its command line, and what /proc says of it."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.dev.folders import scratch
from infra.dev.hosts import Hypervisor
from infra.dev.stack import Stack, Wanted
from infra.runtime.service import background
from tests.support.eventually import eventually

PATIENCE_S = 60.0


@dataclass(frozen=True)
class Said:
    """What the command line said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, as the JSON that it should be."""
        return json.loads(self.out)


@asynccontextmanager
async def world(hypervisor: Hypervisor, hosts: int = 2, *, whole: bool = True) -> AsyncIterator[Stack]:
    """Run a stack of its own, supervised as `roost dev` does, and stop it whatever happens.

    At the end its log is *whole*, and all that was made of it, unless the tests damage that.
    """
    with scratch("roost-e2e-") as folder:
        stack = Stack(Wanted(folder, hosts=hosts, hypervisor=hypervisor, api_port=0), lambda _: None)
        await stack.start()
        try:
            async with background(stack.children.watch(lambda _: None)):
                yield stack
                said = await verified(stack)
                assert not whole or said.code == 0, said.out + said.err
        finally:
            await stack.stop()


async def roost(stack: Stack, *args: str) -> Said:
    """Run the command line against *stack*."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.cli.main", *args),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "ROOST_URL": stack.url, "ROOST_TOKEN": stack.token},
    )
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert process.returncode is not None
    return Said(process.returncode, out.decode(), err.decode())


async def done(stack: Stack, *args: str) -> Said:
    """Run the command line and expect success."""
    said = await roost(stack, *args)
    assert said.code == 0, f"roost {' '.join(args)} ended with {said.code}:\n{said.out}{said.err}"
    return said


async def verified(stack: Stack) -> Said:
    """Compare the stack's log with everything that was made of it: `roost log verify`."""
    told = dict(line.split("=", 1) for line in (stack.keys / "auditor.env").read_text().splitlines())
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.cli.main", "log", "verify"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **told},
    )
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert process.returncode is not None
    return Said(process.returncode, out.decode(), err.decode())


async def vm(stack: Stack, name: str) -> Any:
    """Show one VM as the API does."""
    return (await done(stack, "vm", "show", name, "-o", "json")).json


async def in_phase(stack: Stack, name: str, phase: str) -> None:
    """Wait until a VM is in *phase*."""

    async def holds() -> bool:
        return bool((await vm(stack, name))["phase"] == phase)

    await eventually(holds, f"{name} {phase}")


def qemu_of(stack: Stack) -> tuple[int, ...]:
    """List the QEMU processes that really run in the stack's lab."""
    assert stack.lab is not None
    return tuple(pid for host in stack.lab.hosts for pid in stack.lab.qemu_pids(host.name))


def descendants(pid: int) -> set[tuple[int, str]]:
    """List the processes below *pid*, each with its start time, so that a reused number is no match."""
    parents: dict[int, list[tuple[int, str]]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents.setdefault(int(fields[1]), []).append((int(folder.name), fields[19]))
    found: set[tuple[int, str]] = set()
    todo = [pid]
    while todo:
        for child in parents.get(todo.pop(), []):
            found.add(child)
            todo.append(child[0])
    return found


def alive(process: tuple[int, str]) -> bool:
    """Tell whether that very process still runs; a zombie does not."""
    try:
        fields = Path(f"/proc/{process[0]}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return fields[19] == process[1] and fields[0] != "Z"
