"""Look at domains: which are ours, what each does, and why it stands still or is off."""

import threading
from typing import Any

import libvirt
import structlog
from lxml import etree

from events.facts import PauseCause, StopCause
from events.ids import Generation, VmId
from services.hostd.core.domain import Domain, DomainState
from services.hostd.hypervisor.domain_xml import NAMESPACE, generation_of
from services.hostd.hypervisor.effective_xml import agent_connected, disks_of
from services.hostd.hypervisor.happenings import vm_id_of
from services.hostd.hypervisor.port import HypervisorRefused

EVENT_WAIT_S = 1.0
"""How long the event of a transient domain's end may come after the domain is gone."""

# libvirt's virDomainShutoffReason and virDomainPausedReason (libvirt-domain.h).
CAUSES = {
    libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN: StopCause.GUEST,
    libvirt.VIR_DOMAIN_SHUTOFF_DESTROYED: StopCause.POWERED_OFF,
    libvirt.VIR_DOMAIN_SHUTOFF_CRASHED: StopCause.CRASHED,
    libvirt.VIR_DOMAIN_SHUTOFF_MIGRATED: StopCause.MIGRATED,
    libvirt.VIR_DOMAIN_SHUTOFF_SAVED: StopCause.POWERED_OFF,
    libvirt.VIR_DOMAIN_SHUTOFF_FAILED: StopCause.CRASHED,
}
PAUSES = {
    libvirt.VIR_DOMAIN_PAUSED_USER: PauseCause.USER,
    libvirt.VIR_DOMAIN_PAUSED_MIGRATION: PauseCause.MIGRATION,
    libvirt.VIR_DOMAIN_PAUSED_IOERROR: PauseCause.IO_ERROR,
    libvirt.VIR_DOMAIN_PAUSED_WATCHDOG: PauseCause.WATCHDOG,
    libvirt.VIR_DOMAIN_PAUSED_CRASHED: PauseCause.CRASHED,
    libvirt.VIR_DOMAIN_PAUSED_POSTCOPY: PauseCause.MIGRATION,
    libvirt.VIR_DOMAIN_PAUSED_POSTCOPY_FAILED: PauseCause.MIGRATION,
}
UNDEFINE = (
    libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
)
"""All that libvirt keeps of a domain but a managed save: that is a guest's memory, for a person to judge."""
_NOT_OURS = {libvirt.VIR_ERR_NO_DOMAIN_METADATA, libvirt.VIR_ERR_NO_DOMAIN}


class Looks:
    """What libvirt shows of our domains, and what it forgets: the end of transient ones."""

    def __init__(self) -> None:
        self._news = threading.Condition()
        self._transient: dict[VmId, Generation] = {}
        self._starting: set[VmId] = set()
        self._ended: dict[VmId, Domain] = {}

    def expect(self, vm_id: VmId, generation: Generation) -> None:
        """Await the start of a transient domain: libvirt will forget it in the moment of its end."""
        with self._news:
            self._ended.pop(vm_id, None)
            self._transient[vm_id] = generation
            self._starting.add(vm_id)

    def started(self, vm_id: VmId) -> None:
        """From now on a transient domain that is not there has ended."""
        with self._news:
            self._starting.discard(vm_id)

    def forget(self, vm_id: VmId) -> None:
        """Let go of what is remembered of a transient domain."""
        with self._news:
            self._ended.pop(vm_id, None)
            self._transient.pop(vm_id, None)
            self._starting.discard(vm_id)

    def stopped(self, vm_id: VmId, cause: StopCause) -> None:
        """Remember why a transient domain ended."""
        with self._news:
            if vm_id in self._transient:
                self._end(vm_id, cause)
            self._news.notify_all()

    def domain(self, connection: Any, vm_id: VmId) -> Domain | None:
        """Show one domain, if it is ours."""
        found = lookup(connection, vm_id)
        shown = self.show(found) if found is not None else None
        return shown if shown is not None else self._ended_one(vm_id)

    def domains(self, connection: Any) -> list[Domain]:
        """Show all of ours."""
        shown = {one.vm_id: one for found in connection.listAllDomains() if (one := self._readable(found))}
        with self._news:
            return [*shown.values(), *(one for one in self._ended.values() if one.vm_id not in shown)]

    def _readable(self, found: Any) -> Domain | None:
        """Describe a domain; one whose metadata is damaged shall not hide all others."""
        try:
            return self.show(found)
        except HypervisorRefused as err:
            structlog.get_logger().warning("domain_unreadable", reason=str(err))
            return None

    def own(self, connection: Any, vm_id: VmId) -> Any | None:
        """Look a domain up and give it only if it is ours and runs: what is someone else's is not touched."""
        found = lookup(connection, vm_id)
        shown = self.show(found) if found is not None else None
        return found if shown is not None and shown.state is DomainState.ACTIVE else None

    def show(self, found: Any) -> Domain | None:
        """Describe a domain; None where it is someone else's, or gone between two calls."""
        try:
            mark = found.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, NAMESPACE)
            vm_id, generation = vm_id_of(found), generation_of(mark)
            state, reason = found.state()
            xml = found.XMLDesc()
            disks = disks_of(xml)
            if not found.isActive():  # a state alone does not say: a panicked guest has one of its own
                cause, saved = CAUSES.get(reason, StopCause.LOST), bool(found.hasManagedSaveImage())
                return Domain(vm_id, generation, DomainState.OFF, cause=cause, disks=disks, saved=saved)
            paused = _paused(found, state, reason)
            persistent = found.isPersistent()
        except libvirt.libvirtError as err:
            if err.get_error_code() in _NOT_OURS:
                return None
            raise
        except (ValueError, etree.XMLSyntaxError) as err:
            raise HypervisorRefused(f"{found.name()}: its roost metadata is damaged: {err}") from err
        if not persistent and vm_id not in self._transient:
            self.expect(vm_id, generation)  # started before we were
            self.started(vm_id)
        return Domain(
            vm_id, generation, DomainState.ACTIVE, agent=agent_connected(xml), paused=paused, disks=disks
        )

    def _ended_one(self, vm_id: VmId) -> Domain | None:
        with self._news:
            awaited = vm_id in self._transient and vm_id not in self._starting
            if awaited and not self._news.wait_for(lambda: vm_id not in self._transient, EVENT_WAIT_S):
                self._end(vm_id, StopCause.LOST)  # libvirt was not there to tell
            return self._ended.get(vm_id)

    def _end(self, vm_id: VmId, cause: StopCause) -> None:
        generation = self._transient.pop(vm_id)
        self._ended[vm_id] = Domain(vm_id, generation, DomainState.OFF, cause=cause, defined=False)


def lookup(connection: Any, vm_id: VmId) -> Any | None:
    """Find a domain by its id, whoever's it is."""
    try:
        return connection.lookupByUUID(vm_id.bytes)
    except libvirt.libvirtError as err:
        if err.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise


def undefine(found: Any) -> None:
    """Remove a definition; it has gone by itself: nothing."""
    try:
        found.undefineFlags(UNDEFINE)
    except libvirt.libvirtError as err:
        if err.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise


def is_active(found: Any) -> bool:
    """Tell whether it has a QEMU; one that has gone has none."""
    try:
        return bool(found.isActive())
    except libvirt.libvirtError as err:
        if err.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return False
        raise


def _paused(found: Any, state: int, reason: int) -> PauseCause | None:
    match state:
        case libvirt.VIR_DOMAIN_CRASHED:
            return PauseCause.CRASHED
        case libvirt.VIR_DOMAIN_PMSUSPENDED:
            return PauseCause.OTHER
        case libvirt.VIR_DOMAIN_PAUSED:
            cause = PAUSES.get(reason, PauseCause.OTHER)
            return PauseCause.NO_SPACE if cause is PauseCause.IO_ERROR and _out_of_space(found) else cause
        case _:
            return None


def _out_of_space(found: Any) -> bool:
    """Ask QEMU which kind of I/O error it met, unless QEMU is busy: a look waits for no guest."""
    if found.controlInfo()[0] != libvirt.VIR_DOMAIN_CONTROL_OK:
        return False
    return libvirt.VIR_DOMAIN_DISK_ERROR_NO_SPACE in found.diskErrors().values()
