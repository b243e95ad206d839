"""Listen to libvirt's events and say them in our words."""

import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import libvirt

from events.facts import StopCause
from events.ids import VmId
from services.hostd.core.domain import (
    BalloonChanged,
    DeviceChanged,
    Happening,
    IoError,
    Panicked,
    Rebooted,
    WatchdogFired,
)
from services.hostd.hypervisor.domain_xml import disk_of_alias

KIB_PER_MIB = 1024
ECHO_S = 0.5
"""No guest is up again so soon."""

# libvirt's virDomainEventStoppedDetailType, virDomainEventIOErrorAction and virDomainEventWatchdogAction
# (libvirt-domain.h).
STOPPED = {
    libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN: StopCause.GUEST,
    libvirt.VIR_DOMAIN_EVENT_STOPPED_DESTROYED: StopCause.POWERED_OFF,
    libvirt.VIR_DOMAIN_EVENT_STOPPED_CRASHED: StopCause.CRASHED,
    libvirt.VIR_DOMAIN_EVENT_STOPPED_MIGRATED: StopCause.MIGRATED,
    libvirt.VIR_DOMAIN_EVENT_STOPPED_SAVED: StopCause.POWERED_OFF,
    libvirt.VIR_DOMAIN_EVENT_STOPPED_FAILED: StopCause.CRASHED,
}
IO_ACTIONS = {
    libvirt.VIR_DOMAIN_EVENT_IO_ERROR_NONE: "none",
    libvirt.VIR_DOMAIN_EVENT_IO_ERROR_PAUSE: "pause",
    libvirt.VIR_DOMAIN_EVENT_IO_ERROR_REPORT: "report",
}
WATCHDOG_ACTIONS = {
    libvirt.VIR_DOMAIN_EVENT_WATCHDOG_NONE: "none",
    libvirt.VIR_DOMAIN_EVENT_WATCHDOG_PAUSE: "pause",
    libvirt.VIR_DOMAIN_EVENT_WATCHDOG_RESET: "reset",
    libvirt.VIR_DOMAIN_EVENT_WATCHDOG_POWEROFF: "poweroff",
    libvirt.VIR_DOMAIN_EVENT_WATCHDOG_SHUTDOWN: "shutdown",
    libvirt.VIR_DOMAIN_EVENT_WATCHDOG_DEBUG: "debug",
    libvirt.VIR_DOMAIN_EVENT_WATCHDOG_INJECTNMI: "inject-nmi",
}

Heard = Callable[[VmId, Happening | None, StopCause | None], None]
"""Called on libvirt's thread: this domain changed, perhaps by a happening, perhaps it stopped."""


def listen(connection: Any, heard: Heard) -> None:
    """Have all events of *connection* said to *heard*."""

    def on(event: int, read: Callable[..., Happening | None]) -> None:
        def callback(_: Any, domain: Any, *facts: Any) -> None:
            heard(vm_id_of(domain), read(*facts[:-1]), None)

        connection.domainEventRegisterAny(None, event, callback, None)

    def lifecycle(_: Any, domain: Any, event: int, detail: int, _opaque: Any) -> None:
        stopped = STOPPED.get(detail, StopCause.LOST) if event == libvirt.VIR_DOMAIN_EVENT_STOPPED else None
        crashed = Panicked() if event == libvirt.VIR_DOMAIN_EVENT_CRASHED else None
        heard(vm_id_of(domain), crashed, stopped)

    connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, lifecycle, None)
    on(libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE, lambda _state, _reason: None)
    on(libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, Rebooted)
    on(libvirt.VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON, _io_error)
    on(libvirt.VIR_DOMAIN_EVENT_ID_WATCHDOG, _watchdog)
    on(libvirt.VIR_DOMAIN_EVENT_ID_BALLOON_CHANGE, lambda kib: BalloonChanged(kib // KIB_PER_MIB))
    on(libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, lambda alias: DeviceChanged(alias, "added"))
    on(libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, lambda alias: DeviceChanged(alias, "removed"))
    on(
        libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED,
        lambda alias: DeviceChanged(alias, "removal_failed"),
    )


class Echoes:
    """Leaves out the second of two reboots that are one: QEMU tells of most resets twice in a moment."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._last: dict[VmId, float] = {}
        """When each VM rebooted last; what is older than an echo can be is let go."""

    def heard(self, vm_id: VmId, happening: Happening | None) -> Happening | None:
        """Give *happening*, or None for a reboot that has just been told of."""
        if not isinstance(happening, Rebooted):
            return happening
        now = self._now()
        recent = {one: at for one, at in self._last.items() if now - at < ECHO_S}
        self._last = recent | {vm_id: now}
        return None if vm_id in recent else happening


def vm_id_of(domain: Any) -> VmId:
    """A VM's id is its domain's UUID."""
    return VmId(UUID(bytes=domain.UUID()))


def _io_error(path: str, alias: str, action: int, reason: str) -> Happening:
    disk = disk_of_alias(alias) or path
    return IoError(disk, (reason or ""), IO_ACTIONS.get(action, str(action)))


def _watchdog(action: int) -> Happening:
    return WatchdogFired(WATCHDOG_ACTIONS.get(action, str(action)))
