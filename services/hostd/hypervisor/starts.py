"""Start a domain, step by step: exists, saved state, validate, fill in, graphics, devices, start."""

import contextlib
import time
from pathlib import Path
from typing import Any

import libvirt
import structlog

from events.desired import DesiredVm
from events.effective import FailureCode, Step
from events.values import MESSAGE_MAX, Desired
from services.hostd.core.domain import DomainState
from services.hostd.hypervisor.blueprint import (
    Blueprint,
    Draughtsman,
    FindImage,
    Platform,
    domain_name,
    failure,
)
from services.hostd.hypervisor.checks import check
from services.hostd.hypervisor.connections import Connections
from services.hostd.hypervisor.disks import make_disk
from services.hostd.hypervisor.domain_xml import domain_xml
from services.hostd.hypervisor.effective_xml import effective_of
from services.hostd.hypervisor.host_view import Hosts
from services.hostd.hypervisor.looks import Looks, lookup, undefine
from services.hostd.hypervisor.port import HypervisorRefused, Started, StartRefused

_GONE = {libvirt.VIR_ERR_NO_DOMAIN}


class Starts:
    """The blocking half of `start`: each method runs on a thread of its own deadline."""

    def __init__(
        self, connections: Connections, looks: Looks, platform: Platform, find_image: FindImage
    ) -> None:
        self._connections = connections
        self._looks = looks
        self._platform = platform
        self._find_image = find_image
        self._hosts = Hosts(platform.domain_type)

    def prepare(self, desired: DesiredVm) -> Blueprint | Started:
        """Check everything and make nothing; ours of this generation and running: describe it."""
        connection = self._connections.mine()
        found = lookup(connection, desired.vm_id)
        if found is not None and (running := self._adopt(found, desired)) is not None:
            return running
        self._refuse_foreign(connection, desired)
        draughtsman = Draughtsman(desired, self._find_image, self._platform)
        blueprint = draughtsman.draw()
        host = self._hosts.view(connection, self._connections.era, blueprint.machine)
        failures = [*draughtsman.failures, *check(blueprint, host)]
        if failures:
            raise StartRefused(failures)
        return blueprint

    def make_disks(self, blueprint: Blueprint) -> None:
        """Make the files of the disks that are not there; refused, say which are there all the same."""
        try:
            for disk in blueprint.disks:
                make_disk(disk)
        except StartRefused as err:
            there = [disk.name for disk in blueprint.disks if disk.path.exists()]
            raise StartRefused(err.failures, disks=there) from err

    def create(self, blueprint: Blueprint) -> Started:
        """Have libvirt start QEMU; refused, it leaves no definition behind."""
        connection, desired = self._connections.mine(), blueprint.desired
        xml = domain_xml(blueprint, self._platform)
        stale = lookup(connection, desired.vm_id)
        if stale is not None:
            undefine(stale)
        log = QemuLog(self._platform.qemu_log_folder / f"{domain_name(desired)}.log")
        logger = structlog.get_logger().bind(vm_id=str(desired.vm_id))
        logger.info("domain_create")
        began = time.monotonic()
        try:
            domain = self._create(connection, desired, xml)
        except libvirt.libvirtError as err:
            if self._connections.broke(err):
                raise
            self._looks.forget(desired.vm_id)
            message = err.get_error_message() or str(err)
            wrong = failure(Step.START, FailureCode.HYPERVISOR, message)
            made = [disk.name for disk in blueprint.disks]
            raise StartRefused([wrong], log.grown(), made) from err
        logger.info("domain_created", ms=round((time.monotonic() - began) * 1000, 2))
        return _described(domain)

    def _create(self, connection: Any, desired: DesiredVm, xml: str) -> Any:
        flags = libvirt.VIR_DOMAIN_START_PAUSED if desired.desired is Desired.PAUSED else 0
        if not desired.spec.persistent:
            self._looks.expect(desired.vm_id, desired.generation)
            domain = connection.createXML(xml, flags)
            self._looks.started(desired.vm_id)
            return domain
        self._looks.forget(desired.vm_id)
        domain = connection.defineXML(xml)
        try:
            domain.createWithFlags(flags)
        except libvirt.libvirtError:
            # Only its definition: if a QEMU did come up (the answer was lost) it keeps running, ours.
            with contextlib.suppress(libvirt.libvirtError):
                if not domain.isActive():
                    undefine(domain)
            raise
        return domain

    def _adopt(self, found: Any, desired: DesiredVm) -> Started | None:
        """Describe it if it is the one wanted; None where a stale one is in the way that may be undefined."""
        shown = self._looks.show(found)
        if shown is None:
            said = f"a domain with the id {desired.vm_id} exists here and is not roost's: {found.name()!r}"
            raise StartRefused([failure(Step.EXISTS, FailureCode.VM_EXISTS, f"{said}; remove or rename it")])
        if shown.state is DomainState.ACTIVE and shown.generation == desired.generation:
            return _described(found)
        if shown.state is DomainState.ACTIVE:
            said = f"it runs here in generation {shown.generation}, and {desired.generation} shall start"
            raise StartRefused([failure(Step.EXISTS, FailureCode.VM_EXISTS, f"{said}; stop it first")])
        if shown.saved:
            said = (
                f"{found.name()!r} has a saved state (virsh managedsave), which a start would discard; "
                "copy its file elsewhere if it is needed, then remove it by virsh managedsave-remove"
            )
            raise StartRefused([failure(Step.SAVED_STATE, FailureCode.SAVED_STATE, said)])
        return None

    def _refuse_foreign(self, connection: Any, desired: DesiredVm) -> None:
        try:
            other = connection.lookupByName(domain_name(desired))
        except libvirt.libvirtError as err:
            if err.get_error_code() in _GONE:
                return
            raise
        if other.UUID() != desired.vm_id.bytes:
            said = f"a domain named {other.name()!r} exists here with the id {other.UUIDString()}"
            raise StartRefused([failure(Step.EXISTS, FailureCode.VM_EXISTS, f"{said}; remove or rename it")])


class QemuLog:
    """What QEMU writes into its log from now on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._before = path.stat().st_size if path.exists() else 0

    def grown(self) -> str:
        """Give the end of what was added; empty where QEMU was never started."""
        try:
            size = self._path.stat().st_size
            # A log that is smaller than it was has been rotated: all of it is new.
            fresh = size - self._before if size >= self._before else size
            with self._path.open("rb") as file:
                file.seek(size - min(fresh, MESSAGE_MAX))
                return file.read(MESSAGE_MAX).decode(errors="replace")[-MESSAGE_MAX:]
        except OSError:
            return ""


def _described(domain: Any) -> Started:
    try:
        effective = effective_of(domain.XMLDesc())
    except libvirt.libvirtError as err:
        if err.get_error_code() in _GONE:  # a transient one that has ended already
            raise HypervisorRefused("it ended in the moment in which it had started") from err
        raise
    return Started(effective, tuple(disk.name for disk in effective.disks if not disk.read_only))
