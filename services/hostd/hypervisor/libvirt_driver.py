"""The real hypervisor: libvirt. Its types and errors end in this room, its calls run on our threads."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import libvirt
import libvirt_qemu
import structlog

from events.desired import DesiredVm
from events.facts import StopCause
from events.ids import VmId
from events.statistics import VmStatistics
from infra.runtime.errors import Unavailable
from infra.runtime.workers import Overdue, Workers
from services.hostd.core.domain import Domain, DomainState, Happening
from services.hostd.hypervisor.blueprint import Blueprint, FindImage, Platform
from services.hostd.hypervisor.connections import Connections
from services.hostd.hypervisor.disks import MAKE_TIMEOUT_S, remove_folders
from services.hostd.hypervisor.happenings import Echoes, listen
from services.hostd.hypervisor.host_view import KIB_PER_MIB
from services.hostd.hypervisor.libvirt_machine import machine
from services.hostd.hypervisor.libvirt_statistics import LibvirtStatistics
from services.hostd.hypervisor.looks import Looks, is_active, lookup, undefine
from services.hostd.hypervisor.port import Changed, HypervisorRefused, Machine, NoAnswer, Started
from services.hostd.hypervisor.starts import Starts

CALL_TIMEOUT_S = 10.0
START_TIMEOUT_S = 60.0
ASK_TIMEOUT_S = 20.0
"""libvirt gives an agent that does not answer up after 5 s; then the power button is pressed."""
POWER_OFF_TIMEOUT_S = 40.0
"""A QEMU that is stopped or hangs in the kernel does not heed SIGTERM: libvirt kills it after 10 s."""
AGENT_TIMEOUT_S = 2
THREADS = 8
"""Beside those that start guests, which take longest."""
SPARES = 6
"""Threads whose call hangs and that are replaced at a time."""
STARTS_AT_ONCE = 4
AHEAD_S = 0.25
"""For how long a start relies on what was checked ahead: milliseconds pass where no turn is waited for."""
STARTING = ("make_disks", "create")
"""The calls of a start that make something, however late."""

_BUSY = "state change lock"
"""libvirt's words where another call about the same guest has hung for 30 s (qemuDomainObjBeginJob)."""

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class _Ahead:
    """The checks of a start that were begun before its turn, by the loop's time."""

    desired: DesiredVm
    drawn: "asyncio.Future[Blueprint | None]"
    """None: refused, without an answer, or running already."""
    at: float


class LibvirtHypervisor:
    """One libvirt daemon, as `port.Hypervisor` describes it."""

    def __init__(
        self,
        uri: str,
        platform: Platform,
        find_image: FindImage,
        *,
        starts_at_once: int = STARTS_AT_ONCE,
        call_timeout_s: float = CALL_TIMEOUT_S,
    ) -> None:
        self._platform = platform
        self._call_timeout_s = call_timeout_s
        self._workers = Workers("libvirt", THREADS + starts_at_once, SPARES)
        self._connections = Connections(uri)
        self._statistics = LibvirtStatistics(uri)
        self._looks = Looks()
        self._echoes = Echoes()
        self._starts = Starts(self._connections, self._looks, platform, find_image)
        self._ahead: dict[VmId, _Ahead] = {}
        self._overdue: dict[tuple[VmId, str], Future[Any]] = {}
        self._loop = asyncio.get_running_loop()
        self._changed: Changed = lambda _vm_id, _happening: None

    async def connect(self, changed: Changed) -> None:
        self._changed = changed
        await self._call(self._call_timeout_s, self._open)

    async def machine(self) -> Machine:
        return await self._call(self._call_timeout_s, lambda: machine(self._connections.mine()))

    async def domains(self) -> Sequence[Domain]:
        return await self._call(self._call_timeout_s, self._domains)

    async def domain(self, vm_id: VmId) -> Domain | None:
        self._refuse_starting(vm_id)
        return await self._about(vm_id, self._call_timeout_s, self._domain, vm_id)

    async def prepare(self, desired: DesiredVm) -> None:
        self._refuse_starting(desired.vm_id)
        ahead = self._ahead[desired.vm_id] = _Ahead(desired, self._loop.create_future(), self._loop.time())
        drawn: Blueprint | Started | None = None
        try:
            drawn = await self._draw(desired)
        finally:
            if not ahead.drawn.done():
                ahead.drawn.set_result(drawn if isinstance(drawn, Blueprint) else None)

    async def start(self, desired: DesiredVm) -> Started:
        vm_id = desired.vm_id
        self._refuse_starting(vm_id)
        drawn = await self._drawn_ahead(desired) or await self._draw(desired)
        if isinstance(drawn, Started):
            return drawn
        if drawn.disks:
            await self._about(vm_id, MAKE_TIMEOUT_S, self._starts.make_disks, drawn)
        return await self._about(vm_id, START_TIMEOUT_S, self._starts.create, drawn)

    async def _draw(self, desired: DesiredVm) -> Blueprint | Started:
        return await self._about(desired.vm_id, self._call_timeout_s, self._starts.prepare, desired)

    async def _drawn_ahead(self, desired: DesiredVm) -> Blueprint | None:
        """Give what is checked just now for this very start, as soon as it is.

        What was checked long ago was checked in another world; and what was refused then need not be now.
        """
        ahead = self._ahead.pop(desired.vm_id, None)
        if ahead is None or ahead.desired != desired or self._loop.time() - ahead.at > AHEAD_S:
            return None
        return await ahead.drawn

    async def ask_shutdown(self, vm_id: VmId) -> None:
        await self._about(vm_id, ASK_TIMEOUT_S, self._ask_shutdown, vm_id)

    async def ask_reboot(self, vm_id: VmId) -> None:
        await self._about(vm_id, ASK_TIMEOUT_S, self._ask_reboot, vm_id)

    async def reset(self, vm_id: VmId) -> None:
        await self._about(vm_id, self._call_timeout_s, self._reset, vm_id)

    async def pause(self, vm_id: VmId) -> None:
        await self._about(vm_id, self._call_timeout_s, self._pause, vm_id)

    async def resume(self, vm_id: VmId) -> None:
        await self._about(vm_id, self._call_timeout_s, self._resume, vm_id)

    async def update(self, desired: DesiredVm) -> None:
        await self._about(desired.vm_id, self._call_timeout_s, self._update, desired)

    async def power_off(self, vm_id: VmId) -> None:
        self._refuse_starting(vm_id)
        await self._about(vm_id, POWER_OFF_TIMEOUT_S, self._power_off, vm_id)

    async def undefine(self, vm_id: VmId) -> None:
        self._refuse_starting(vm_id)
        await self._about(vm_id, self._call_timeout_s, self._undefine, vm_id)

    async def remove_disks(self, desired: DesiredVm) -> Sequence[Path]:
        self._refuse_starting(desired.vm_id)
        return await self._about(desired.vm_id, MAKE_TIMEOUT_S, self._remove_disks, desired)

    async def agent_answers(self, vm_id: VmId) -> bool:
        return await self._about(vm_id, self._call_timeout_s, self._agent_answers, vm_id)

    async def monitor_answers(self, vm_id: VmId) -> None:
        await self._about(vm_id, self._call_timeout_s, self._monitor_answers, vm_id)

    async def statistics(self) -> Sequence[VmStatistics]:
        return await self._statistics.statistics()

    async def close(self) -> None:
        self._statistics.close()
        with contextlib.suppress(Unavailable, HypervisorRefused):
            await self._call(self._call_timeout_s, self._connections.close)
        self._workers.close()

    async def _about(
        self, vm_id: VmId, timeout_s: float, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Make a call about one guest. While one hangs, the next of its kind is not even tried: so no guest
        ever takes more than a thread for each kind of call from the others."""
        name = call.__name__.lstrip("_")
        self._refuse_overdue(vm_id, name)
        try:
            return await self._call(timeout_s, call, *args, **kwargs)
        except Overdue as err:
            self._overdue[vm_id, name] = err.call
            raise NoAnswer(f"{name}: {err}") from err

    def _refuse_starting(self, vm_id: VmId) -> None:
        """Say nothing of a guest, and do nothing, that a start which hangs could belie when it comes true."""
        for name in STARTING:
            self._refuse_overdue(vm_id, name)

    def _refuse_overdue(self, vm_id: VmId, name: str) -> None:
        earlier = self._overdue.pop((vm_id, name), None)
        if earlier is not None and not earlier.done():
            self._overdue[vm_id, name] = earlier
            raise NoAnswer(f"{name}: the call before it still has no answer")

    async def _call(self, timeout_s: float, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run one of the methods below on a thread."""
        return await self._workers.run(timeout_s, self._translated, lambda: call(*args, **kwargs))

    def _translated(self, call: Callable[[], T]) -> T:
        """Make a call; the one place where libvirt's errors are translated."""
        try:
            return call()
        except libvirt.libvirtError as err:
            message = err.get_error_message() or str(err)
            if self._connections.broke(err):
                raise Unavailable("libvirt", message) from err
            if err.get_error_code() == libvirt.VIR_ERR_OPERATION_TIMEOUT and _BUSY in message:
                raise NoAnswer(message) from err
            raise HypervisorRefused(message) from err

    def _open(self) -> None:
        self._platform.console_folder.mkdir(parents=True, exist_ok=True)
        self._connections.open(
            lost=lambda: self._tell(None, None), listen=lambda connection: listen(connection, self._heard)
        )

    def _heard(self, vm_id: VmId, happening: Happening | None, stopped: StopCause | None) -> None:
        if stopped is not None:
            self._looks.stopped(vm_id, stopped)
        self._tell(vm_id, self._echoes.heard(vm_id, happening))

    def _tell(self, vm_id: VmId | None, happening: Happening | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop may be gone while libvirt's thread still speaks
            self._loop.call_soon_threadsafe(self._changed, vm_id, happening)

    def _domains(self) -> Sequence[Domain]:
        return self._looks.domains(self._connections.mine())

    def _domain(self, vm_id: VmId) -> Domain | None:
        return self._looks.domain(self._connections.mine(), vm_id)

    def _on_running(self, vm_id: VmId, do: Callable[[Any], object]) -> None:
        """Do something with a domain of ours that runs; one that has ended meanwhile is no error."""
        found = self._looks.own(self._connections.mine(), vm_id)
        if found is None:
            return
        try:
            do(found)
        except libvirt.libvirtError:
            if self._looks.own(self._connections.mine(), vm_id) is not None:
                raise

    def _ask_shutdown(self, vm_id: VmId) -> None:
        def ask(found: Any) -> None:
            try:
                found.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT)
            except libvirt.libvirtError as err:
                structlog.get_logger().info("agent_did_not_shut_down", vm_id=str(vm_id), reason=str(err))
                found.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)

        self._on_running(vm_id, ask)

    def _ask_reboot(self, vm_id: VmId) -> None:
        def ask(found: Any) -> None:
            try:
                found.reboot(libvirt.VIR_DOMAIN_REBOOT_GUEST_AGENT)
            except libvirt.libvirtError as err:
                structlog.get_logger().info("agent_did_not_reboot", vm_id=str(vm_id), reason=str(err))
                found.reboot(libvirt.VIR_DOMAIN_REBOOT_ACPI_POWER_BTN)

        self._on_running(vm_id, ask)

    def _reset(self, vm_id: VmId) -> None:
        self._on_running(vm_id, lambda found: found.reset())

    def _pause(self, vm_id: VmId) -> None:
        def suspend(found: Any) -> None:
            if found.state()[0] != libvirt.VIR_DOMAIN_PAUSED:
                found.suspend()

        self._on_running(vm_id, suspend)

    def _resume(self, vm_id: VmId) -> None:
        def go_on(found: Any) -> None:
            if found.state()[0] == libvirt.VIR_DOMAIN_PMSUSPENDED:
                found.pMWakeup()
            elif found.state()[0] in {libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_CRASHED}:
                found.resume()

        self._on_running(vm_id, go_on)

    def _update(self, desired: DesiredVm) -> None:
        def plug(found: Any) -> None:
            if found.vcpusFlags(libvirt.VIR_DOMAIN_AFFECT_LIVE) != desired.spec.vcpus:
                found.setVcpusFlags(desired.spec.vcpus, libvirt.VIR_DOMAIN_AFFECT_LIVE)
            # Always: what the balloon is now tells nothing of what it was last told to become.
            found.setMemoryFlags(desired.spec.memory_mib * KIB_PER_MIB, libvirt.VIR_DOMAIN_AFFECT_LIVE)

        self._on_running(desired.vm_id, plug)

    def _power_off(self, vm_id: VmId) -> None:
        self._on_running(vm_id, lambda found: found.destroy())

    def _undefine(self, vm_id: VmId) -> None:
        self._looks.forget(vm_id)
        found = lookup(self._connections.mine(), vm_id)
        shown = self._looks.show(found) if found is not None else None
        if found is not None and shown is not None and shown.state is DomainState.OFF:
            undefine(found)

    def _remove_disks(self, desired: DesiredVm) -> Sequence[Path]:
        found = lookup(self._connections.mine(), desired.vm_id)
        if found is not None and is_active(found):
            raise HypervisorRefused("its disks are in use: it runs here; stop it first")
        missing = [str(path) for path in self._platform.storages.values() if not path.is_dir()]
        if missing and (desired.made_disks or desired.spec.disks):
            said = f"storage {', '.join(missing)} is not there, and disks may be in it"
            raise HypervisorRefused(f"{said}; mount or make it")
        # In all of them: a disk that was left out of the spec since is removed with the others.
        return remove_folders(str(desired.vm_id), self._platform.storages.values())

    def _agent_answers(self, vm_id: VmId) -> bool:
        found = self._looks.own(self._connections.mine(), vm_id)
        if found is None:
            return False
        try:
            libvirt_qemu.qemuAgentCommand(found, '{"execute":"guest-ping"}', AGENT_TIMEOUT_S, 0)
        except libvirt.libvirtError:
            return False  # Not there yet, or gone again: either way it does not answer.
        return True  # What it says is the guest's, which nobody need read.

    def _monitor_answers(self, vm_id: VmId) -> None:
        # Any question that libvirt has to pass on; a raw one of our own would mark the domain as tainted.
        self._on_running(vm_id, lambda found: found.diskErrors())
