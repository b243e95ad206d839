"""Read the figures of our guests from libvirt, whatever hangs."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

import libvirt

from events.ids import Generation, VmId
from events.spec import DISKS_MAX, NICS_MAX
from events.statistics import MORE_DISKS, DiskStatistics, NicStatistics, VmMemory, VmStatistics
from infra.runtime.errors import Unavailable
from infra.runtime.workers import Workers
from services.hostd.hypervisor.domain_xml import NAMESPACE, generation_of

NS_PER_S = 1_000_000_000

_WANTED = (
    libvirt.VIR_DOMAIN_STATS_CPU_TOTAL
    | libvirt.VIR_DOMAIN_STATS_BALLOON
    | libvirt.VIR_DOMAIN_STATS_VCPU
    | libvirt.VIR_DOMAIN_STATS_INTERFACE
    | libvirt.VIR_DOMAIN_STATS_BLOCK
)
# NOWAIT passes by a guest whose QEMU is being asked something already, and tells what libvirt itself knows.
# Whoever is the first to ask a QEMU that hangs waits for as long as it hangs (libvirt 9.0, measured).
_NOWAIT = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT

ASKING_MAX = 2
"""Looks that may wait for guests that hang, one for each. Every one keeps a thread of ours and one of
libvirtd's twenty for as long as its guest hangs; while so many wait nobody's QEMU is asked any more."""
LOOK_TIMEOUT_S = 3.0

Told = Mapping[str, Any]
"""libvirt's own names and values (virConnectGetAllDomainStats)."""
Look = Callable[[Any], Sequence[VmStatistics]]


class LibvirtStatistics:
    """The figures of our guests, each look over a connection of its own.

    A look may hang with a guest, and calls that shared its connection were seen to hang with it. To connect
    takes a millisecond or two.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._workers = Workers("libvirt statistics", ASKING_MAX + 1)
        self._idle = threading.Semaphore(ASKING_MAX + 1)
        self._asking = threading.Semaphore(ASKING_MAX)

    async def statistics(self) -> Sequence[VmStatistics]:
        """Give them by id; raises Unavailable.

        Of a guest that hangs there is only what libvirt knows without it; of all, once several hang.
        """
        for _ in range(ASKING_MAX):
            try:
                return await self._run(self._ask)
            except Unavailable:
                continue  # A guest hangs, and the next look passes it by; or libvirtd is away, see below.
        return await self._run(lambda: self._look(known))

    def close(self) -> None:
        """Take no more calls; do not wait for those under way."""
        self._workers.close()

    async def _run(self, look: Callable[[], Sequence[VmStatistics]]) -> Sequence[VmStatistics]:
        """Look on an idle thread; where there is none, nothing is queued: libvirtd itself gives no answer."""
        if not self._idle.acquire(blocking=False):
            raise Unavailable("libvirt", f"{ASKING_MAX + 1} looks at the guests still wait for an answer")

        def then_idle() -> Sequence[VmStatistics]:
            try:
                return look()
            finally:
                self._idle.release()

        return await self._workers.run(LOOK_TIMEOUT_S, then_idle)

    def _ask(self) -> Sequence[VmStatistics]:
        if not self._asking.acquire(blocking=False):
            return self._look(known)
        try:
            return self._look(asked)
        finally:
            self._asking.release()

    def _look(self, look: Look) -> Sequence[VmStatistics]:
        try:
            connection = libvirt.open(self._uri)
            try:
                return look(connection)
            finally:
                connection.close()
        except libvirt.libvirtError as err:
            raise Unavailable("libvirt", err.get_error_message() or str(err)) from err


def asked(connection: Any) -> Sequence[VmStatistics]:
    """Give all of each guest, by id; may hang with one of them; raises libvirtError."""
    ours = _ours(connection)
    if not ours:
        return []
    domains = [domain for domain, _ in ours.values()]
    told = {domain.UUID(): one for domain, one in connection.domainListGetStats(domains, _WANTED, _NOWAIT)}
    return [
        read(vm_id, generation, told[vm_id.bytes])
        for vm_id, (_, generation) in ours.items()
        if vm_id.bytes in told
    ]


def known(connection: Any) -> Sequence[VmStatistics]:
    """Give what libvirt knows of each guest without asking its QEMU, by id; raises libvirtError."""
    found = []
    for vm_id, (domain, generation) in _ours(connection).items():
        try:
            _, maximum_kib, current_kib, vcpus, cpu_ns = domain.info()
        except libvirt.libvirtError as err:
            if err.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                continue  # Gone between two calls.
            raise
        told = {"vcpu.current": vcpus, "cpu.time": cpu_ns}
        told |= {"balloon.maximum": maximum_kib, "balloon.current": current_kib}
        found.append(read(vm_id, generation, told))
    return found


def _ours(connection: Any) -> Mapping[VmId, tuple[Any, Generation]]:
    """Find our guests that run, by id. Nobody else's is ever asked: it may hang."""
    found = {}
    for domain in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
        generation = _own_generation(domain)
        if generation is not None:
            found[VmId(UUID(bytes=domain.UUID()))] = domain, generation
    return dict(sorted(found.items()))


def _own_generation(domain: Any) -> Generation | None:
    """Tell the generation of a domain of ours; None where it is someone else's, gone, or damaged."""
    try:
        return generation_of(domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, NAMESPACE))
    except libvirt.libvirtError as err:
        if err.get_error_code() in {libvirt.VIR_ERR_NO_DOMAIN_METADATA, libvirt.VIR_ERR_NO_DOMAIN}:
            return None
        raise
    except ValueError:
        return None  # Whoever reconciles says so aloud.


def read(vm_id: VmId, generation: Generation, told: Told) -> VmStatistics:
    """Translate what libvirt *told* of one guest; what it did not tell is left out."""
    vcpus = range(_count(told, "vcpu.maximum") or 0)
    return VmStatistics(
        vm_id=vm_id,
        generation=generation,
        vcpus=_count(told, "vcpu.current"),
        # The processes' whole time; without it (no cgroup in old releases) that of the vCPUs.
        cpu_seconds=_seconds(told, "cpu.time") or _sum(told, vcpus, "time") or 0.0,
        cpu_wait_seconds=_sum(told, vcpus, "wait"),
        cpu_steal_seconds=_sum(told, vcpus, "delay"),
        memory=VmMemory(
            current_kib=_count(told, "balloon.current"),
            maximum_kib=_count(told, "balloon.maximum"),
            rss_kib=_count(told, "balloon.rss"),
            unused_kib=_count(told, "balloon.unused"),
            available_kib=_count(told, "balloon.available"),
            usable_kib=_count(told, "balloon.usable"),
            swap_in_kib=_count(told, "balloon.swap_in"),
            swap_out_kib=_count(told, "balloon.swap_out"),
            major_faults=_count(told, "balloon.major_fault"),
        ),
        disks=_disks(told),
        nics=_nics(told),
    )


def _disks(told: Told) -> Sequence[DiskStatistics]:
    # A disk is named, too, when its QEMU was not asked: then nothing is known of it, which is not 0.
    every = [f"block.{number}." for number in range(_count(told, "block.count") or 0)]
    prefixes = [at for at in every if f"{at}rd.bytes" in told]
    return tuple(
        DiskStatistics(
            target=told.get(f"{at}name", ""),
            path=told.get(f"{at}path", ""),
            read_bytes=_count(told, f"{at}rd.bytes") or 0,
            read_requests=_count(told, f"{at}rd.reqs") or 0,
            read_seconds=_seconds(told, f"{at}rd.times") or 0.0,
            write_bytes=_count(told, f"{at}wr.bytes") or 0,
            write_requests=_count(told, f"{at}wr.reqs") or 0,
            write_seconds=_seconds(told, f"{at}wr.times") or 0.0,
            flush_requests=_count(told, f"{at}fl.reqs") or 0,
            flush_seconds=_seconds(told, f"{at}fl.times") or 0.0,
            allocation_bytes=_count(told, f"{at}allocation"),
            capacity_bytes=_count(told, f"{at}capacity"),
            physical_bytes=_count(told, f"{at}physical"),
        )
        for at in prefixes[: DISKS_MAX + MORE_DISKS]
    )


def _nics(told: Told) -> Sequence[NicStatistics]:
    every = [f"net.{number}." for number in range(_count(told, "net.count") or 0)]
    prefixes = [at for at in every if f"{at}rx.bytes" in told]
    return tuple(
        NicStatistics(
            device=told.get(f"{at}name", ""),
            received_bytes=_count(told, f"{at}rx.bytes") or 0,
            received_packets=_count(told, f"{at}rx.pkts") or 0,
            received_errors=_count(told, f"{at}rx.errs") or 0,
            received_drops=_count(told, f"{at}rx.drop") or 0,
            sent_bytes=_count(told, f"{at}tx.bytes") or 0,
            sent_packets=_count(told, f"{at}tx.pkts") or 0,
            sent_errors=_count(told, f"{at}tx.errs") or 0,
            sent_drops=_count(told, f"{at}tx.drop") or 0,
        )
        for at in prefixes[:NICS_MAX]
    )


def _count(told: Told, name: str) -> int | None:
    """Give a number; libvirt writes -1 where it has none."""
    value = told.get(name)
    return int(value) if value is not None and value >= 0 else None


def _seconds(told: Told, name: str) -> float | None:
    value = _count(told, name)
    return None if value is None else value / NS_PER_S


def _sum(told: Told, vcpus: range, name: str) -> float | None:
    found = [_seconds(told, f"vcpu.{number}.{name}") for number in vcpus]
    known = [value for value in found if value is not None]
    return sum(known) if known else None
