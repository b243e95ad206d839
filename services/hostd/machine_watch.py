"""Keep an eye on what the host is made of, and have it reported when that changes."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import structlog

from events.machine import MachineFacts, Storage
from infra.runtime.errors import Unavailable
from infra.runtime.workers import Workers
from services.hostd.core.machine import steadied
from services.hostd.hypervisor.port import HypervisorRefused, Machine
from services.hostd.kernel_files import kernel_facts, storage_facts

LOOK_S = 30.0
"""Nothing tells of free space, of bridges or of huge pages: they have to be looked at."""
FILES_TIMEOUT_S = 5.0


class Folder:
    """One folder for disks, looked at on a thread of its own: it may be a network's that hangs."""

    def __init__(self, name: str, path: Path) -> None:
        self._name = name
        self._path = path
        self._worker = Workers(f"storage {name}", 1)
        self._under_way = False

    async def look(self) -> Storage:
        """Describe it, or say that it does not answer; while one look hangs no other is begun."""
        if not self._under_way:
            self._under_way = True
            try:
                return await self._worker.run(FILES_TIMEOUT_S, self._look)
            except Unavailable:
                pass  # Said below, and again until the look that hangs has returned.
        problem = f"no answer within {FILES_TIMEOUT_S:g} s"
        return Storage(name=self._name, path=str(self._path), problem=problem)

    def _look(self) -> Storage:
        try:
            return storage_facts(self._name, self._path)
        finally:
            self._under_way = False


class MachineWatch:
    """What one host is made of: the hypervisor's word on it, the kernel's, and the folders'."""

    def __init__(
        self,
        *,
        machine: Callable[[], Awaitable[Machine]],
        report: Callable[[Machine], Awaitable[None]],
        storages: Mapping[str, Path],
        kernel: Callable[[], MachineFacts] = kernel_facts,
    ) -> None:
        self._machine = machine
        self._report = report
        self._folders: Sequence[Folder] = [Folder(name, path) for name, path in sorted(storages.items())]
        self._kernel = kernel
        self._files = Workers("machine", 1)
        self._said = MachineFacts()

    async def watch(self) -> None:
        """Look from time to time, for ever. What cannot be asked now is looked at the next time."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self.look()
            except (Unavailable, HypervisorRefused) as err:
                structlog.get_logger().debug("machine_not_seen", reason=str(err))

    async def look(self) -> None:
        """Look, and have reported what is there; whoever reports knows what was said before.

        Raises Unavailable, HypervisorRefused.
        """
        machine = await self._machine()
        kernel = await self._files.run(FILES_TIMEOUT_S, self._kernel)
        storages = await asyncio.gather(*(folder.look() for folder in self._folders))
        found = machine.facts.model_copy(
            update={
                "numa": kernel.numa,
                "hugepages": kernel.hugepages,
                "networks": kernel.networks,
                "storages": tuple(storages),
                "labels": kernel.labels,
            }
        )
        self._said = steadied(self._said, found)
        await self._report(replace(machine, facts=self._said))
