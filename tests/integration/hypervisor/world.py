"""A real libvirt host with its hypervisor adapter, and what QEMU and the guest say of themselves."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from events.desired import DesiredVm
from events.ids import VmId
from events.spec import VmSpec
from events.values import Desired
from infra.lab.failure import LabFailed
from infra.lab.lab import Lab
from infra.runtime.ids import random_id
from services.hostd.core.domain import Domain, DomainState, Happening
from services.hostd.hypervisor.blueprint import Platform
from services.hostd.hypervisor.libvirt_driver import CALL_TIMEOUT_S, LibvirtHypervisor
from services.hostd.hypervisor.port import Hypervisor
from services.hostd.images import find_image
from tests.support.builders import an_entry

HOST = "host-1"
BRIDGE = "br-test"
WAIT_S = 60.0
LOOK_AGAIN_S = 0.5
TINY_MIB = 128


@dataclass
class Changes:
    """What the hypervisor told of; a test waits for the next word, and looks."""

    told: list[VmId | None] = field(default_factory=list)
    happened: list[tuple[VmId | None, Happening]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, vm_id: VmId | None, happening: Happening | None) -> None:
        self.told.append(vm_id)
        if happening is not None:
            self.happened.append((vm_id, happening))
        self.news.set()

    def of(self, vm_id: VmId) -> list[Happening]:
        """What has happened to one VM."""
        return [happening for told, happening in self.happened if told == vm_id]

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        """Look at each change, and now and then without one, until *holds*."""
        async with asyncio.timeout(WAIT_S):
            while not await holds():
                self.news.clear()
                try:
                    async with asyncio.timeout(LOOK_AGAIN_S):
                        await self.news.wait()
                except TimeoutError:
                    continue


@dataclass
class World:
    """A hypervisor and what it tells of."""

    hypervisor: Hypervisor
    changes: Changes

    async def see(self, vm_id: VmId) -> Domain:
        """Look at a domain that must be there."""
        found = await self.hypervisor.domain(vm_id)
        assert found is not None
        return found

    async def up(self, vm_id: VmId) -> None:
        """Wait until the guest's agent answers."""
        await self.changes.until(lambda: self.hypervisor.agent_answers(vm_id))

    async def seen(self, vm_id: VmId, holds: Callable[[Domain], bool]) -> Domain:
        """Wait until the domain is seen so."""

        async def look() -> bool:
            return holds(await self.see(vm_id))

        await self.changes.until(look)
        return await self.see(vm_id)

    async def off(self, vm_id: VmId) -> Domain:
        """Wait until the domain is off."""
        return await self.seen(vm_id, lambda domain: domain.state is DomainState.OFF)

    async def happens(self, vm_id: VmId, kind: type[Happening]) -> Happening:
        """Wait until something of this kind has been told of."""

        async def told() -> bool:
            return any(isinstance(one, kind) for one in self.changes.of(vm_id))

        await self.changes.until(told)
        return next(one for one in self.changes.of(vm_id) if isinstance(one, kind))

    async def remove(self, entry: DesiredVm) -> None:
        """Leave nothing of it behind."""
        await self.hypervisor.power_off(entry.vm_id)
        await self.hypervisor.undefine(entry.vm_id)
        await self.hypervisor.remove_disks(entry)


@dataclass
class RealWorld(World):
    """A world on a lab's host."""

    lab: Lab
    images: Path
    storage: Path

    async def qmp(self, vm_id: VmId, command: str, **arguments: Any) -> Any:
        """Ask QEMU itself; raises LabFailed where it refuses or is not there."""
        said = {"execute": command, "arguments": arguments} if arguments else {"execute": command}
        answer = json.loads(await self.lab.virsh(HOST, "qemu-monitor-command", str(vm_id), json.dumps(said)))
        if "error" in answer:
            raise LabFailed(what=command, why=str(answer["error"]), hint="QEMU's documentation")
        return answer["return"]

    async def qemu_status(self, vm_id: VmId) -> str:
        """What QEMU says the guest does."""
        return str((await self.qmp(vm_id, "query-status"))["status"])

    async def qemu(self, vm_id: VmId) -> int:
        """Give the id of its QEMU; there must be exactly one."""
        (pid,) = await self.qemus(vm_id)
        return pid

    async def qemus(self, vm_id: VmId) -> list[int]:
        """List its QEMU processes."""
        pids = await asyncio.to_thread(self.lab.qemu_pids, HOST)  # it reads all of /proc
        return [pid for pid in pids if str(vm_id) in Path(f"/proc/{pid}/cmdline").read_text()]

    def serial(self, vm_id: VmId) -> str:
        """What the guest has written to its serial console, in all its runs."""
        path = self.lab.host(HOST).dir / "console" / f"{vm_id}.console.log"
        return path.read_text(errors="replace") if path.exists() else ""

    async def says(self, vm_id: VmId, words: str, times: int = 1) -> None:
        """Wait until the guest has written *words* so often."""

        async def written() -> bool:
            return self.serial(vm_id).count(words) >= times

        await self.changes.until(written)


@asynccontextmanager
async def real_world(
    lab: Lab, images: Path, storage: Path, *, call_timeout_s: float = CALL_TIMEOUT_S, machine: str = "pc"
) -> AsyncIterator[RealWorld]:
    """Connect an adapter to the lab's first host; images and disks are where host and test both see them."""
    host = lab.host(HOST)
    storage.mkdir(exist_ok=True)
    platform = Platform(
        domain_type="qemu",
        machine=machine,
        console_folder=host.dir / "console",
        qemu_log_folder=host.dir / "log" / "qemu",
        storages={"default": storage},
    )
    hypervisor = LibvirtHypervisor(
        host.uri, platform, partial(find_image, images), call_timeout_s=call_timeout_s
    )
    changes = Changes()
    await hypervisor.connect(changes)
    yield RealWorld(hypervisor, changes, lab, images, storage)
    await hypervisor.close()


async def in_host(lab: Lab, *argv: str) -> None:
    """Run a program in the lab host's network and mount namespaces: what it makes there ends with the lab."""
    command = ("nsenter", "--target", str(lab.host(HOST).init_pid), "--root", "--net", "--mount", *argv)
    process = await asyncio.create_subprocess_exec(*command)
    assert await process.wait() == 0, argv


def an_own_entry(desired: Desired = Desired.RUNNING, generation: int = 3, **fields: Any) -> DesiredVm:
    """A small VM that no other test has."""
    made = an_entry(desired, generation=generation, vm=VmId(random_id()))
    small = made.spec.model_dump() | {"vcpus": 1, "memory_mib": TINY_MIB}
    return made.model_copy(update={"spec": VmSpec.model_validate(small | fields)})


def with_spec(entry: DesiredVm, **fields: Any) -> DesiredVm:
    """The same entry with other fields of its spec."""
    spec = VmSpec.model_validate(entry.spec.model_dump() | fields)
    return entry.model_copy(update={"spec": spec})
