"""The real hypervisor: libvirt. All its types and errors end here, all its calls run on our threads."""

import asyncio
import contextlib
import json
import platform
import threading
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

import libvirt
import libvirt_qemu
import structlog

from events.facts import StopCause
from events.ids import VmId
from events.values import DesiredVm, Versions
from infra.runtime.errors import Unavailable
from infra.runtime.workers import Workers
from services.hostd.core.reconcile import Domain, DomainState
from services.hostd.hypervisor.domain_xml import (
    NAMESPACE,
    Platform,
    agent_connected,
    domain_xml,
    generation_of,
)
from services.hostd.hypervisor.port import Changed, HypervisorRefused, Image, Machine

CALL_TIMEOUT_S = 10.0
START_TIMEOUT_S = 60.0
AGENT_TIMEOUT_S = 2
THREADS = 8
KEEPALIVE_S, KEEPALIVE_COUNT = 5, 3

# libvirt's virDomainShutoffReason (libvirt-domain.h).
_CAUSES = {
    libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN: StopCause.GUEST,
    libvirt.VIR_DOMAIN_SHUTOFF_DESTROYED: StopCause.POWERED_OFF,
    libvirt.VIR_DOMAIN_SHUTOFF_CRASHED: StopCause.CRASHED,
    libvirt.VIR_DOMAIN_SHUTOFF_FAILED: StopCause.CRASHED,
}
_ACTIVE = {
    libvirt.VIR_DOMAIN_RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED,
    libvirt.VIR_DOMAIN_PAUSED,
    libvirt.VIR_DOMAIN_SHUTDOWN,
    libvirt.VIR_DOMAIN_PMSUSPENDED,
}
_AWAY = {libvirt.VIR_ERR_NO_CONNECT, libvirt.VIR_ERR_RPC}

P = ParamSpec("P")
T = TypeVar("T")


class LibvirtHypervisor:
    """One libvirt daemon, as `port.Hypervisor` describes it."""

    def __init__(self, uri: str, shape: Platform) -> None:
        self._uri = uri
        self._shape = shape
        self._workers = Workers("libvirt", THREADS)
        self._connection: Any = None
        self._loop = asyncio.get_running_loop()
        self._changed: Changed = lambda _: None
        _start_event_loop()
        # libvirt's own reports go to standard error otherwise, once an error that we report ourselves.
        libvirt.registerErrorHandler(lambda *_: None, None)

    async def connect(self, changed: Changed) -> None:
        self._changed = changed
        await self._call(CALL_TIMEOUT_S, self._open)

    async def machine(self) -> Machine:
        return await self._call(CALL_TIMEOUT_S, self._machine)

    async def domains(self) -> Sequence[Domain]:
        return await self._call(CALL_TIMEOUT_S, self._domains)

    async def domain(self, vm_id: VmId) -> Domain | None:
        return await self._call(CALL_TIMEOUT_S, self._domain, vm_id)

    async def start(self, desired: DesiredVm, image: Image) -> None:
        await self._call(START_TIMEOUT_S, self._start, desired, image)

    async def ask_shutdown(self, vm_id: VmId) -> None:
        await self._call(CALL_TIMEOUT_S, self._ask_shutdown, vm_id)

    async def power_off(self, vm_id: VmId) -> None:
        await self._call(CALL_TIMEOUT_S, self._power_off, vm_id)

    async def undefine(self, vm_id: VmId) -> None:
        await self._call(CALL_TIMEOUT_S, self._undefine, vm_id)

    async def agent_answers(self, vm_id: VmId) -> bool:
        return await self._call(CALL_TIMEOUT_S, self._agent_answers, vm_id)

    async def close(self) -> None:
        with contextlib.suppress(Unavailable, HypervisorRefused):
            await self._call(CALL_TIMEOUT_S, self._close)
        self._workers.close()

    async def _call(self, timeout_s: float, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run one of the methods below on a thread; the one place where libvirt's errors are translated."""
        try:
            return await self._workers.run(timeout_s, call, *args, **kwargs)
        except libvirt.libvirtError as err:
            message = err.get_error_message() or str(err)
            if err.get_error_code() in _AWAY or not self._alive():
                self._connection = None
                raise Unavailable("libvirt", message) from err
            raise HypervisorRefused(message) from err

    def _alive(self) -> bool:
        try:
            return self._connection is not None and self._connection.isAlive() == 1
        except libvirt.libvirtError:
            return False

    def _open(self) -> None:
        self._close()
        self._shape.console_folder.mkdir(parents=True, exist_ok=True)
        connection = libvirt.open(self._uri)
        connection.setKeepAlive(KEEPALIVE_S, KEEPALIVE_COUNT)
        connection.registerCloseCallback(lambda *_: self._tell(None), None)
        connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._on_event, None)
        connection.domainEventRegisterAny(
            None, libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE, self._on_event, None
        )
        self._connection = connection

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(libvirt.libvirtError):
                connection.close()

    def _on_event(self, _connection: Any, domain: Any, *_: Any) -> None:
        self._tell(VmId(UUID(bytes=domain.UUID())))

    def _tell(self, vm_id: VmId | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop may be gone while libvirt's thread still speaks
            self._loop.call_soon_threadsafe(self._changed, vm_id)

    def _connected(self) -> Any:
        if self._connection is None:
            raise Unavailable("libvirt", f"not connected to {self._uri}")
        return self._connection

    def _lookup(self, vm_id: VmId) -> Any | None:
        try:
            return self._connected().lookupByUUID(vm_id.bytes)
        except libvirt.libvirtError as err:
            if err.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                return None
            raise

    def _own(self, vm_id: VmId) -> Any | None:
        """Look a domain up and give it only if it is ours: what is someone else's is never touched."""
        found = self._lookup(vm_id)
        return found if found is not None and self._show(found) is not None else None

    def _machine(self) -> Machine:
        connection = self._connected()
        # Not getInfo's memory: it was seen to give a fifth of what the kernel says.
        memory = connection.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS)
        return Machine(
            cores=connection.getInfo()[2],
            memory_mib=memory["total"] // 1024,
            versions=Versions(
                roost=version("roost"),
                hypervisor=connection.getType(),
                libvirt=_dotted(connection.getLibVersion()),
                qemu=_dotted(connection.getVersion()),
                kernel=platform.release(),
            ),
            boot_id=Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        )

    def _domains(self) -> list[Domain]:
        seen = (self._show(found) for found in self._connected().listAllDomains())
        return [domain for domain in seen if domain is not None]

    def _domain(self, vm_id: VmId) -> Domain | None:
        found = self._lookup(vm_id)
        return self._show(found) if found is not None else None

    def _show(self, found: Any) -> Domain | None:
        try:
            generation = generation_of(found.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, NAMESPACE))
            state, reason = found.state()
            active = state in _ACTIVE
            agent = active and agent_connected(found.XMLDesc())
        except libvirt.libvirtError as err:
            if err.get_error_code() in {libvirt.VIR_ERR_NO_DOMAIN_METADATA, libvirt.VIR_ERR_NO_DOMAIN}:
                return None  # Someone else's, or gone between two calls.
            raise
        except ValueError as err:
            raise HypervisorRefused(f"{found.name()}: its roost metadata is damaged: {err}") from err
        return Domain(
            vm_id=VmId(UUID(bytes=found.UUID())),
            generation=generation,
            state=DomainState.ACTIVE if active else DomainState.OFF,
            agent=agent,
            cause=_CAUSES.get(reason, StopCause.LOST),
        )

    def _start(self, desired: DesiredVm, image: Image) -> None:
        found = self._lookup(desired.vm_id)
        if found is not None and self._show(found) is None:
            raise HypervisorRefused(f"a domain with the id {desired.vm_id} exists here and is not roost's")
        if found is not None and found.isActive():
            return
        domain = self._connected().defineXML(domain_xml(desired, image, self._shape))
        structlog.get_logger().info("domain_create", vm_id=str(desired.vm_id))
        domain.create()

    def _ask_shutdown(self, vm_id: VmId) -> None:
        found = self._own(vm_id)
        if found is None or not found.isActive():
            return
        try:
            found.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT)
        except libvirt.libvirtError as err:
            structlog.get_logger().info("agent_did_not_shut_down", vm_id=str(vm_id), reason=str(err))
            found.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)

    def _power_off(self, vm_id: VmId) -> None:
        found = self._own(vm_id)
        if found is not None and found.isActive():
            found.destroy()

    def _undefine(self, vm_id: VmId) -> None:
        found = self._own(vm_id)
        if found is not None and not found.isActive():
            found.undefine()

    def _agent_answers(self, vm_id: VmId) -> bool:
        found = self._own(vm_id)
        if found is None:
            return False
        try:
            answer = libvirt_qemu.qemuAgentCommand(found, '{"execute":"guest-ping"}', AGENT_TIMEOUT_S, 0)
        except libvirt.libvirtError:
            return False  # Not there yet, or gone again: either way it does not answer.
        return "return" in json.loads(answer)


def _dotted(number: int) -> str:
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"


_event_loop = threading.Lock()
_event_loop_runs = False


def _start_event_loop() -> None:
    """Run libvirt's event loop on a thread of its own, once a process: libvirt allows no second."""
    global _event_loop_runs  # noqa: PLW0603 - it is libvirt that is global
    with _event_loop:
        if not _event_loop_runs:
            libvirt.virEventRegisterDefaultImpl()
            threading.Thread(target=_run_events, name="libvirt-events", daemon=True).start()
            _event_loop_runs = True


def _run_events() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()
