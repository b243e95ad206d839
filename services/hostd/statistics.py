"""Tell the host's statistics and its VMs', every few seconds, to whoever listens now."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from events import subjects
from events.ids import HostId
from events.statistics import STATISTICS_S, HostMemory, HostStatistics, VmStatistics, messages
from infra.eventlog.port import Signals
from infra.runtime.clock import Clock
from infra.runtime.errors import Unavailable
from infra.runtime.workers import Workers
from services.hostd.core.kernel import Ticks, cpu_shares, cpu_ticks, host_memory, load_averages
from services.hostd.hypervisor.port import HypervisorRefused, NoAnswer

PROC = Path("/proc")
PROC_TIMEOUT_S = 5.0


class VmSource(Protocol):
    """Whoever knows the figures of the VMs that run here."""

    async def statistics(self) -> Sequence[VmStatistics]:
        """Give them; raises Unavailable, HypervisorRefused or NoAnswer."""


class Statistics:
    """One host's figures."""

    def __init__(
        self,
        *,
        host_id: HostId,
        source: VmSource,
        signals: Signals,
        clock: Clock,
        interval_s: float = STATISTICS_S,
    ) -> None:
        self._host_id = host_id
        self._source = source
        self._signals = signals
        self._clock = clock
        self._interval_s = interval_s
        self._kernel = Workers("statistics", 1)
        self._ticks: Ticks | None = None

    async def tell(self) -> None:
        """Tell them, for ever. Those of an interval in which something is away are left out."""
        while True:
            try:
                told = await self._look()
                for body in messages(told):
                    await self._signals.send(subjects.statistics(self._host_id), body)
            except (Unavailable, HypervisorRefused, NoAnswer):
                pass  # The outage is said by those who cannot go on without; the next interval comes.
            await asyncio.sleep(self._interval_s)

    async def _look(self) -> HostStatistics:
        vms = await self._source.statistics()
        ticks, memory, load = await self._kernel.run(PROC_TIMEOUT_S, _read)
        before, self._ticks = self._ticks, ticks
        return HostStatistics(
            host_id=self._host_id,
            at=self._clock.now(),
            interval_s=self._interval_s,
            cpu=None if before is None else cpu_shares(before, ticks),
            memory=memory,
            load=load,
            vms=tuple(vms),
        )


def _read() -> tuple[Ticks, HostMemory, tuple[float, float, float]]:
    stat, meminfo, loadavg = (PROC / name for name in ("stat", "meminfo", "loadavg"))
    try:
        return (
            cpu_ticks(stat.read_text()),
            host_memory(meminfo.read_text()),
            load_averages(loadavg.read_text()),
        )
    except (OSError, ValueError, KeyError) as err:
        # Figures are not worth the daemon's life, wherever a sandbox shows less than a kernel does.
        raise Unavailable("kernel", f"{PROC} cannot be read: {err!r}") from err
