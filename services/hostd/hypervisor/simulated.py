"""A hypervisor that pretends, in real time. Its guests are files, so that they outlive the daemon.

A guest boots, answers and shuts down by the clock alone: nothing runs, and a daemon that was killed finds
its guests exactly where time has brought them.
"""

import asyncio
import json
import platform
from collections.abc import Sequence
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from uuid import UUID

from events.facts import StopCause
from events.ids import Generation, VmId
from events.values import DesiredVm, Value, Versions
from infra.runtime.clock import Clock
from infra.runtime.workers import Workers
from services.hostd.core.reconcile import Domain, DomainState
from services.hostd.hypervisor.port import Changed, Image, Machine

CREATE_S = 0.05
BOOT_S = 0.5
SHUTDOWN_S = 0.3
CORES = 16
MEMORY_MIB = 64 * 1024
FILE_TIMEOUT_S = 10.0
"""A disk that others keep busy makes a new file wait for its journal: that is not for the event loop."""


class Guest(Value):
    """A pretended domain, as its file holds it."""

    vm_id: VmId
    generation: Generation
    started_at: datetime
    shuts_down_at: datetime | None = None
    ended: StopCause | None = None


class SimulatedHypervisor:
    """One pretended host over *folder*, as `port.Hypervisor` describes it."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._changed: Changed = lambda _: None
        self._files = Workers("guests", 1)
        folder.mkdir(parents=True, exist_ok=True)

    async def connect(self, changed: Changed) -> None:
        self._changed = changed
        for guest in self._guests():
            self._tell_when(guest.vm_id, guest.started_at + timedelta(seconds=BOOT_S))
            if guest.shuts_down_at is not None:
                self._tell_when(guest.vm_id, guest.shuts_down_at)

    async def machine(self) -> Machine:
        return Machine(
            cores=CORES,
            memory_mib=MEMORY_MIB,
            versions=Versions(
                roost=version("roost"),
                hypervisor="simulated",
                libvirt="none",
                qemu="none",
                kernel=platform.release(),
            ),
            boot_id="simulated",
        )

    async def domains(self) -> Sequence[Domain]:
        return [self._show(guest) for guest in self._guests()]

    async def domain(self, vm_id: VmId) -> Domain | None:
        guest = self._read(vm_id)
        return self._show(guest) if guest is not None else None

    async def start(self, desired: DesiredVm, image: Image) -> None:  # noqa: ARG002 - nothing boots
        guest = self._read(desired.vm_id)
        if guest is not None and self._show(guest).state is DomainState.ACTIVE:
            return
        await asyncio.sleep(CREATE_S)
        now = self._clock.now()
        await self._write(Guest(vm_id=desired.vm_id, generation=desired.generation, started_at=now))
        self._changed(desired.vm_id)
        self._tell_when(desired.vm_id, now + timedelta(seconds=BOOT_S))

    async def ask_shutdown(self, vm_id: VmId) -> None:
        guest = self._read(vm_id)
        if guest is None or guest.shuts_down_at is not None or not self._show(guest).agent:
            return  # Gone, on its way already, or too early in its boot to hear.
        at = self._clock.now() + timedelta(seconds=SHUTDOWN_S)
        await self._write(guest.model_copy(update={"shuts_down_at": at}))
        self._tell_when(vm_id, at)

    async def power_off(self, vm_id: VmId) -> None:
        guest = self._read(vm_id)
        if guest is not None and self._show(guest).state is DomainState.ACTIVE:
            await self._write(guest.model_copy(update={"ended": StopCause.POWERED_OFF}))
            self._changed(vm_id)

    async def undefine(self, vm_id: VmId) -> None:
        await self._files.run(FILE_TIMEOUT_S, self._path(vm_id).unlink, missing_ok=True)
        self._changed(vm_id)

    async def agent_answers(self, vm_id: VmId) -> bool:
        guest = self._read(vm_id)
        return guest is not None and self._show(guest).agent

    async def close(self) -> None:
        self._changed = lambda _: None
        self._files.close()

    def _show(self, guest: Guest) -> Domain:
        now = self._clock.now()
        ended = guest.ended
        if ended is None and guest.shuts_down_at is not None and now >= guest.shuts_down_at:
            ended = StopCause.GUEST
        active = ended is None
        return Domain(
            vm_id=guest.vm_id,
            generation=guest.generation,
            state=DomainState.ACTIVE if active else DomainState.OFF,
            agent=active and now >= guest.started_at + timedelta(seconds=BOOT_S),
            cause=ended or StopCause.LOST,
        )

    def _tell_when(self, vm_id: VmId, at: datetime) -> None:
        delay = max(0.0, (at - self._clock.now()).total_seconds())
        asyncio.get_running_loop().call_later(delay, lambda: self._changed(vm_id))

    def _guests(self) -> list[Guest]:
        found = (self._read(VmId(UUID(path.stem))) for path in sorted(self._folder.glob("*.json")))
        return [guest for guest in found if guest is not None]

    def _path(self, vm_id: VmId) -> Path:
        return self._folder / f"{vm_id}.json"

    def _read(self, vm_id: VmId) -> Guest | None:
        try:
            return Guest.model_validate(json.loads(self._path(vm_id).read_text()))
        except FileNotFoundError:
            return None

    async def _write(self, guest: Guest) -> None:
        await self._files.run(FILE_TIMEOUT_S, self._replace, guest)

    def _replace(self, guest: Guest) -> None:
        draft = self._path(guest.vm_id).with_suffix(".draft")
        draft.write_text(guest.model_dump_json())
        draft.replace(self._path(guest.vm_id))
