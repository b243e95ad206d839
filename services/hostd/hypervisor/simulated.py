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

from events.desired import DesiredVm
from events.effective import Effective, FailureCode, StartFailure, Step
from events.facts import PauseCause, StopCause
from events.ids import Generation, VmId
from events.spec import VmSpec
from events.statistics import VmStatistics
from events.values import Desired, Value, Versions
from infra.runtime.clock import Clock
from infra.runtime.workers import Workers
from services.hostd.core.domain import Domain, DomainState, Happening, Rebooted
from services.hostd.hypervisor.port import Changed, Machine, Started, StartRefused
from services.hostd.hypervisor.simulated_statistics import simulated_statistics

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
    spec: VmSpec
    booted_at: datetime
    """When it began to boot, the last time that it did."""
    deaf: bool = False
    """It was booted to something else than its own init: no agent answers, and nothing is heard."""
    paused: PauseCause | None = None
    shuts_down_at: datetime | None = None
    reboots_at: datetime | None = None
    ended: StopCause | None = None


class SimulatedHypervisor:
    """One pretended host over *folder*, as `port.Hypervisor` describes it."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._changed: Changed = lambda _vm_id, _happening: None
        self._files = Workers("guests", 1)
        folder.mkdir(parents=True, exist_ok=True)

    async def connect(self, changed: Changed) -> None:
        self._changed = changed
        for guest in self._guests():
            self._tell_when(guest.vm_id, guest.booted_at + timedelta(seconds=BOOT_S))
            if guest.shuts_down_at is not None:
                self._tell_when(guest.vm_id, guest.shuts_down_at)
            if guest.reboots_at is not None:
                self._tell_of_reboot(guest.vm_id, guest.reboots_at)

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

    async def prepare(self, desired: DesiredVm) -> None:
        pass  # Its checks take no time: the start makes them.

    async def start(self, desired: DesiredVm) -> Started:
        guest = self._read(desired.vm_id)
        disks = tuple(disk.name for disk in desired.spec.disks)
        if guest is not None and self._show(guest).state is DomainState.ACTIVE:
            return Started(_effective(guest.spec), disks)
        for name in desired.made_disks:
            if name in disks and not self._disk(desired, name).exists():
                message = f"disk {name!r} was made before and is not here"
                failure = StartFailure(step=Step.VALIDATE, code=FailureCode.DISK_MISSING, message=message)
                raise StartRefused([failure])
        await asyncio.sleep(CREATE_S)
        await self._files.run(FILE_TIMEOUT_S, self._make_disks, desired)
        now = self._clock.now()
        paused = PauseCause.USER if desired.desired is Desired.PAUSED else None
        made = Guest(
            vm_id=desired.vm_id,
            generation=desired.generation,
            spec=desired.spec,
            booted_at=now,
            deaf=desired.once is not None and "init=" in (desired.once.cmdline or ""),
            paused=paused,
        )
        await self._change(made)
        self._tell_when(desired.vm_id, now + timedelta(seconds=BOOT_S))
        return Started(_effective(desired.spec), disks)

    async def ask_shutdown(self, vm_id: VmId) -> None:
        guest = self._active(vm_id)
        if guest is None or guest.shuts_down_at is not None or not self._hears(guest):
            return  # Gone, on its way already, or too early in its boot to hear.
        at = self._clock.now() + timedelta(seconds=SHUTDOWN_S)
        await self._write(guest.model_copy(update={"shuts_down_at": at}))
        self._tell_when(vm_id, at)

    async def ask_reboot(self, vm_id: VmId) -> None:
        guest = self._active(vm_id)
        if guest is None or guest.shuts_down_at is not None or not self._hears(guest):
            return
        at = self._clock.now() + timedelta(seconds=SHUTDOWN_S)
        await self._write(guest.model_copy(update={"reboots_at": at}))
        self._tell_of_reboot(vm_id, at)

    async def reset(self, vm_id: VmId) -> None:
        guest = self._active(vm_id)
        if guest is not None:
            now = self._clock.now()
            fresh = {"booted_at": now, "reboots_at": None, "shuts_down_at": None}
            await self._change(guest.model_copy(update=fresh), Rebooted())
            self._tell_when(vm_id, now + timedelta(seconds=BOOT_S))

    async def pause(self, vm_id: VmId) -> None:
        await self.stand_still(vm_id, PauseCause.USER)

    async def stand_still(self, vm_id: VmId, cause: PauseCause) -> None:
        """Have a guest stand still for *cause*, as an error of its disk would."""
        guest = self._active(vm_id)
        if guest is not None and guest.paused is None:
            changes = {"paused": cause, "shuts_down_at": None, "reboots_at": None}
            await self._change(guest.model_copy(update=changes))

    async def resume(self, vm_id: VmId) -> None:
        guest = self._active(vm_id)
        if guest is not None and guest.paused is not None:
            await self._change(guest.model_copy(update={"paused": None}))

    async def update(self, desired: DesiredVm) -> None:
        guest = self._active(desired.vm_id)
        if guest is not None:
            await self._change(guest.model_copy(update={"spec": desired.spec}))

    async def power_off(self, vm_id: VmId) -> None:
        guest = self._active(vm_id)
        if guest is not None:
            await self._change(guest.model_copy(update={"ended": StopCause.POWERED_OFF}))

    async def undefine(self, vm_id: VmId) -> None:
        await self._files.run(FILE_TIMEOUT_S, self._path(vm_id).unlink, missing_ok=True)
        self._changed(vm_id, None)

    async def remove_disks(self, desired: DesiredVm) -> Sequence[Path]:
        return await self._files.run(FILE_TIMEOUT_S, self._remove_disks, desired)

    async def agent_answers(self, vm_id: VmId) -> bool:
        guest = self._active(vm_id)
        return guest is not None and self._hears(guest)

    async def monitor_answers(self, vm_id: VmId) -> None:
        self._read(vm_id)

    async def statistics(self) -> Sequence[VmStatistics]:
        now = self._clock.now()
        return [
            simulated_statistics(now, guest.booted_at, guest.vm_id, guest.generation, guest.spec)
            for guest in self._guests()
            if self._show(guest).state is DomainState.ACTIVE
        ]

    async def close(self) -> None:
        self._changed = lambda _vm_id, _happening: None
        self._files.close()

    def _show(self, guest: Guest) -> Domain:
        ended = guest.ended
        if ended is None and guest.shuts_down_at is not None and self._clock.now() >= guest.shuts_down_at:
            ended = StopCause.GUEST
        active = ended is None
        return Domain(
            vm_id=guest.vm_id,
            generation=guest.generation,
            state=DomainState.ACTIVE if active else DomainState.OFF,
            agent=active and self._has_booted(guest),
            cause=ended or StopCause.LOST,
            paused=guest.paused if active else None,
            defined=active or guest.spec.persistent,
            disks=tuple(disk.name for disk in guest.spec.disks) if active or guest.spec.persistent else (),
        )

    def _has_booted(self, guest: Guest) -> bool:
        now, since = self._clock.now(), guest.booted_at
        if guest.reboots_at is not None and now >= guest.reboots_at:
            since = guest.reboots_at
        return not guest.deaf and now >= since + timedelta(seconds=BOOT_S)

    def _hears(self, guest: Guest) -> bool:
        return guest.paused is None and self._has_booted(guest)

    def _active(self, vm_id: VmId) -> Guest | None:
        guest = self._read(vm_id)
        return guest if guest is not None and self._show(guest).state is DomainState.ACTIVE else None

    def _tell_when(self, vm_id: VmId, at: datetime) -> None:
        delay = max(0.0, (at - self._clock.now()).total_seconds())
        asyncio.get_running_loop().call_later(delay, lambda: self._changed(vm_id, None))

    def _tell_of_reboot(self, vm_id: VmId, at: datetime) -> None:
        """Tell of it when it comes to pass: not if the guest was reset, paused or ended before."""

        def tell() -> None:
            guest = self._active(vm_id)
            if guest is not None and guest.reboots_at == at:
                self._changed(vm_id, Rebooted())
                self._tell_when(vm_id, at + timedelta(seconds=BOOT_S))

        delay = (at - self._clock.now()).total_seconds()
        if delay > 0:
            asyncio.get_running_loop().call_later(delay, tell)

    def _guests(self) -> list[Guest]:
        found = (self._read(VmId(UUID(path.stem))) for path in sorted(self._folder.glob("*.json")))
        return [guest for guest in found if guest is not None]

    def _path(self, vm_id: VmId) -> Path:
        return self._folder / f"{vm_id}.json"

    def _disk(self, desired: DesiredVm, name: str) -> Path:
        return self._folder / "disks" / str(desired.vm_id) / name

    def _make_disks(self, desired: DesiredVm) -> None:
        for disk in desired.spec.disks:
            path = self._disk(desired, disk.name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    def _remove_disks(self, desired: DesiredVm) -> list[Path]:
        paths = sorted(self._disk(desired, "any").parent.glob("*"))
        for path in paths:
            path.unlink()
        return paths

    def _read(self, vm_id: VmId) -> Guest | None:
        try:
            return Guest.model_validate(json.loads(self._path(vm_id).read_text()))
        except FileNotFoundError:
            return None

    async def _change(self, guest: Guest, happening: Happening | None = None) -> None:
        await self._write(guest)
        self._changed(guest.vm_id, happening)

    async def _write(self, guest: Guest) -> None:
        await self._files.run(FILE_TIMEOUT_S, self._replace, guest)

    def _replace(self, guest: Guest) -> None:
        draft = self._path(guest.vm_id).with_suffix(".draft")
        draft.write_text(guest.model_dump_json())
        draft.replace(self._path(guest.vm_id))


def _effective(spec: VmSpec) -> Effective:
    return Effective(
        machine=spec.machine or "simulated",
        cpu=spec.cpu_model or "simulated",
        clock="utc",
        vcpus=spec.vcpus,
        vcpus_max=spec.resources.vcpus,
        memory_mib=spec.memory_mib,
        boot=f"kernel of {spec.image}",
        video="none",
        graphics=spec.graphics,
        rng="none",
        balloon="none",
        agent_channel="simulated",
        serial_log="none",
    )
