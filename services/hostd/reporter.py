"""Say what this host sees: written down first, then published, in order on each subject, once."""

import asyncio
from collections.abc import Callable
from uuid import UUID

import structlog

from events import codec, subjects
from events.envelope import Origin, Sealed
from events.facts import HostReported, VmFact
from events.ids import EventId, HostId, Seq
from infra.eventlog.port import FactLog, Signals, Write
from infra.runtime.backoff import persist
from infra.runtime.clock import Clock
from infra.runtime.errors import Unavailable
from infra.runtime.health import Health
from services.hostd.core.entry import Entry
from services.hostd.hypervisor.port import Machine
from services.hostd.journal import Journal, Outgoing
from services.hostd.remember import Remember

PUBLISH_MAX = 64
"""Facts under way at once, each on a subject of its own."""
HEARTBEAT_S = 1.0
REST_S = 0.02
"""How long the line that a fact has been published waits: as long as it takes others to act on the fact."""

LOG = "event log"


class Reporter:
    """One host's voice."""

    def __init__(
        self,
        *,
        host_id: HostId,
        name: str,
        facts: FactLog,
        signals: Signals,
        journal: Journal,
        remember: Remember,
        clock: Clock,
        new_id: Callable[[], UUID],
        health: Health,
    ) -> None:
        self._host_id = host_id
        self._name = name
        self._facts = facts
        self._signals = signals
        self._journal = journal
        self._remember = remember
        self._clock = clock
        self._new_id = new_id
        self._health = health
        self._logger = structlog.get_logger().bind(host=name)
        self._waiting = asyncio.Event()
        self._reported: HostReported | None = None

    async def publish(self) -> None:
        """Publish what the journal holds, for ever: in order on each subject, several subjects at a time."""
        news = False
        while True:
            self._waiting.clear()
            outgoing = await self._remember(self._journal.outgoing, PUBLISH_MAX)
            if not outgoing:
                await self._waiting.wait()
                news = True
                continue
            stored = await asyncio.gather(*(self._store(one) for one in outgoing))
            if news:
                await self._rest()
                news = False
            await self._remember(self._journal.published, list(zip(outgoing, stored, strict=True)))

    async def beat(self) -> None:
        """Say that this host is there, for ever."""
        while True:
            try:
                await self._signals.send(subjects.heartbeat(self._host_id), b"{}")
            except Unavailable:
                pass  # The log's own outage is said elsewhere; the next beat comes.
            await asyncio.sleep(HEARTBEAT_S)

    async def report(self, seen: VmFact) -> Entry | None:
        """Write down and have published what was seen of a VM; give its entry as it is then."""
        write = self._seal(subjects.vm_fact(seen.vm_id, self._host_id), seen)
        entry = await self._remember(self._journal.report, seen, write, self._clock.now())
        self._logger.info(seen.TYPE, vm_id=str(seen.vm_id), generation=seen.generation)
        self._waiting.set()
        return entry

    async def report_host(self, machine: Machine) -> None:
        """Write down and have published what the host is, unless this process has said just that."""
        report = HostReported(
            host_id=self._host_id,
            name=self._name,
            cores=machine.cores,
            memory_mib=machine.memory_mib,
            versions=machine.versions,
            boot_id=machine.boot_id,
            machine=machine.facts,
        )
        if report != self._reported:
            write = self._seal(subjects.host_fact(self._host_id), report)
            await self._remember(self._journal.publish_later, write)
            self._reported = report
            self._waiting.set()

    async def _rest(self) -> None:
        """Leave the disk to those who act on the news, for as long as nothing else is to be published.

        Who dies meanwhile publishes it again, with the id by which the server knows it.
        """
        try:
            async with asyncio.timeout(REST_S):
                await self._waiting.wait()
        except TimeoutError:
            pass

    async def _store(self, outgoing: Outgoing) -> Seq:
        return await persist(
            self._health, LOG, lambda: self._facts.publish(outgoing.write, outgoing.expected)
        )

    def _seal(self, subject: str, message: VmFact | HostReported) -> Write:
        source = f"roost/host/{self._host_id}"
        event_id = EventId(self._new_id())
        sealed = Sealed(
            id=event_id,
            subject=subject,
            time=self._clock.now(),
            origin=Origin(source=source, actor=source),
            message=message,
        )
        return Write(subject, event_id, codec.encode(sealed))
