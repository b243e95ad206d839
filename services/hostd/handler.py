"""Fold what is desired and reconcile each VM; what is seen is said through the reporter."""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import structlog

from events import codec
from events.desired import DesiredVm
from events.events import VmDesired
from events.ids import HostId, VmId
from events.machine import MachineFacts
from infra.eventlog.port import Consumer, Delivery, FactLog, Signals
from infra.runtime.backoff import persist
from infra.runtime.clock import Clock
from infra.runtime.errors import Unavailable
from infra.runtime.health import Health
from services.hostd.core.domain import Domain, Happening, Rebooted
from services.hostd.core.entry import Entry, rebooted
from services.hostd.core.reconcile import NOTICE_EVERY_S, reconcile
from services.hostd.core.saying import happened, not_responding
from services.hostd.hypervisor.port import Hypervisor, HypervisorRefused, NoAnswer
from services.hostd.journal import Journal
from services.hostd.machine_watch import MachineWatch
from services.hostd.remember import JOURNAL, Remember
from services.hostd.reporter import LOG, Reporter
from services.hostd.statistics import Statistics
from services.hostd.steps import Look, Steps
from services.hostd.turns import Turns

FETCH_MAX = 64
FETCH_WAIT_S = 1.0
RESYNC_S = 10.0
"""How often every VM is looked at although nothing was heard of it."""
STEPS_MAX = 16
"""Steps in a row for one VM; then others have their turn."""
RETRY_S = 1.0
AGAIN_S = 0.05
"""When a VM is looked at again that changed while it was worked on: most such changes are our own doing, and
what we did is on its way to the log first."""
NAMED_MAX = 20
"""Domains named in one line of the log."""
REFUSED_S = 5.0
"""When what the hypervisor has refused is tried again."""
NO_ANSWER_S = 5.0
"""When a guest about which there was no answer is looked at again."""
HAPPENINGS_MAX = 16
"""Kept of one VM until it is looked at; a disk that fails tells of every request."""

HYPERVISOR = "hypervisor"


class Daemon:
    """The shell of one host."""

    def __init__(
        self,
        *,
        host_id: HostId,
        name: str,
        desired: Consumer,
        facts: FactLog,
        signals: Signals,
        hypervisor: Hypervisor,
        journal: Journal,
        creates_at_once: int,
        storages: Mapping[str, Path],
        kernel: Callable[[], MachineFacts],
        clock: Clock,
        new_id: Callable[[], UUID],
        health: Health,
    ) -> None:
        self._host_id = host_id
        self._desired = desired
        self._hypervisor = hypervisor
        self._journal = journal
        self._clock = clock
        self._health = health
        self._remember = Remember(health)
        self._reporter = Reporter(
            host_id=host_id,
            name=name,
            facts=facts,
            signals=signals,
            journal=journal,
            remember=self._remember,
            clock=clock,
            new_id=new_id,
            health=health,
        )
        self._steps = Steps(
            host_id=host_id,
            hypervisor=hypervisor,
            journal=journal,
            remember=self._remember,
            reporter=self._reporter,
            clock=clock,
            turns=Turns(creates_at_once),
            wake=self._wake_later,
        )
        self._machine = MachineWatch(
            machine=hypervisor.machine,
            report=self._reporter.report_host,
            storages=storages,
            kernel=kernel,
        )
        self._statistics = Statistics(host_id=host_id, source=hypervisor, signals=signals, clock=clock)
        self._told: dict[tuple[VmId, type[Happening]], datetime] = {}
        self._happenings: dict[VmId, deque[Happening]] = {}
        self._beginning: dict[VmId, DesiredVm] = {}  # to start, and not looked at since it came
        self._logger = structlog.get_logger().bind(host=name)
        self._dirty: asyncio.Queue[VmId] = asyncio.Queue()
        self._queued, self._busy, self._again = set[VmId](), set[VmId](), set[VmId]()
        self._reconnect = asyncio.Event()

    async def listen(self) -> None:
        """Fold the host's desired subject into the journal, for ever. Acknowledged last."""
        while True:
            deliveries = await persist(
                self._health, LOG, lambda: self._desired.fetch(FETCH_MAX, FETCH_WAIT_S)
            )
            if not deliveries:
                continue
            messages = [(one.recorded.seq, self._read(one)) for one in deliveries]
            for entry in await self._remember(self._journal.fold, messages, self._clock.now()):
                if entry.begins:
                    self._beginning[entry.desired.vm_id] = entry.desired
                self.wake(entry.desired.vm_id)
            with suppress(Unavailable):  # They come again, and are known by their sequence.
                for delivery in deliveries:
                    await delivery.ack(wait=delivery is deliveries[-1])

    async def work(self) -> None:
        """Reconcile one VM after the other, for ever; several of these run side by side."""
        while True:
            vm_id = await self._dirty.get()
            self._queued.discard(vm_id)
            if vm_id in self._busy:
                self._again.add(vm_id)
                continue
            self._busy.add(vm_id)
            begins = self._beginning.pop(vm_id, None)
            ahead = [self._steps.prepare(begins)] if begins is not None else []
            try:
                await asyncio.gather(self._reconcile(vm_id), *ahead)
            except Unavailable as err:
                if self._health.down(HYPERVISOR, str(err)):
                    self._logger.warning("outage_began", part=HYPERVISOR, reason=err.why)
                self._reconnect.set()
                self._wake_later(vm_id, RETRY_S)
            except NoAnswer as err:
                await self._not_responding(vm_id, str(err))
            except HypervisorRefused as err:
                # Not a start, whose refusal is a fact: something to end or remove that would not go.
                self._logger.warning("hypervisor_refused", vm_id=str(vm_id), reason=str(err))
                self._wake_later(vm_id, REFUSED_S)
            finally:
                self._busy.discard(vm_id)
                if vm_id in self._again:
                    self._again.discard(vm_id)
                    self._wake_later(vm_id, AGAIN_S)

    async def watch(self) -> None:
        """Keep the hypervisor connected and look at everything from time to time, for ever."""
        while True:
            try:
                async with asyncio.timeout(RESYNC_S):
                    await self._reconnect.wait()
            except TimeoutError:
                pass  # Nothing was heard: look anyway.
            else:
                self._reconnect.clear()
                await persist(self._health, HYPERVISOR, lambda: self._hypervisor.connect(self.changed))
                await self._report_host()
            for vm_id in await self._remember(self._journal.vm_ids):
                self.wake(vm_id)

    async def publish(self) -> None:
        """Publish what the journal holds, for ever."""
        await self._reporter.publish()

    async def beat(self) -> None:
        """Say that this host is there, for ever."""
        await self._reporter.beat()

    async def tell(self) -> None:
        """Tell the figures of the host and its guests, for ever."""
        await self._statistics.tell()

    async def watch_machine(self) -> None:
        """Report what the host is made of when that changes, for ever."""
        await self._machine.watch()

    async def start(self) -> None:
        """Connect to the hypervisor and report what this host is."""
        await persist(self._health, HYPERVISOR, lambda: self._hypervisor.connect(self.changed))
        self._health.up(JOURNAL)
        await self._report_host()
        known = await self._remember(self._journal.vm_ids)
        await self._name_unknown(known)
        for vm_id in known:
            self.wake(vm_id)

    def changed(self, vm_id: VmId | None, happening: Happening | None = None) -> None:
        """Hear from the hypervisor: this VM changed, or (None) the connection is gone."""
        if vm_id is None:
            self._reconnect.set()
            return
        if happening is not None:
            self._happenings.setdefault(vm_id, deque(maxlen=HAPPENINGS_MAX)).append(happening)
        self.wake(vm_id)

    def wake(self, vm_id: VmId) -> None:
        """Have a VM looked at soon."""
        if vm_id not in self._queued:
            self._queued.add(vm_id)
            self._dirty.put_nowait(vm_id)

    def _wake_later(self, vm_id: VmId, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self.wake, vm_id)

    def _read(self, delivery: Delivery) -> DesiredVm | None:
        recorded = delivery.recorded
        try:
            _, message = codec.decode(recorded.body)
        except codec.Undecodable as err:
            # The projector keeps it on DEAD with the reason. What it meant to change stays as it is.
            self._logger.error("desired_unreadable", seq=recorded.seq, reason=str(err))
            return None
        return message.entry if isinstance(message, VmDesired) else None

    async def _name_unknown(self, known: Collection[VmId]) -> None:
        """Say which domains of ours have no entry: the journal was lost. They are left alone."""
        try:
            there = await persist(self._health, HYPERVISOR, self._hypervisor.domains)
        except HypervisorRefused as err:
            self._logger.warning("domains_not_listed", reason=str(err))
            return
        unknown = [str(domain.vm_id) for domain in there if domain.vm_id not in known]
        if unknown:
            self._logger.warning("domains_without_entry", count=len(unknown), vm_ids=unknown[:NAMED_MAX])

    async def _reconcile(self, vm_id: VmId) -> None:
        entry, domain = await self._steps.look(vm_id)
        look: Look | None = await self._tell(vm_id, entry, domain)
        for _ in range(STEPS_MAX):
            if look is None:
                return
            entry, domain = look
            if entry is None:
                return  # Not ours to touch: no entry, no action.
            step = reconcile(self._host_id, entry, domain, self._clock.now())
            look = await self._steps.take(step, entry, domain)
        self.wake(vm_id)

    async def _tell(self, vm_id: VmId, entry: Entry | None, domain: Domain | None) -> Look:
        """Say what the hypervisor has told of this VM since it was last looked at."""
        for happening in self._happenings.pop(vm_id, ()):
            if entry is None or entry.is_over or domain is None:
                break  # It happened to what is over, or is nobody's.
            if domain.generation != entry.desired.generation:
                break
            if isinstance(happening, Rebooted):
                await self._remember(self._journal.note, entry.desired, rebooted)
            if entry.phase is not None and self._may_tell(vm_id, happening):
                entry = await self._reporter.report(happened(self._host_id, entry, happening))
        return entry, domain

    def _may_tell(self, vm_id: VmId, happening: Happening) -> bool:
        """Tell of one kind of thing about one guest so often and no more; forget those that are quiet."""
        now = self._clock.now()
        quiet = now - timedelta(seconds=NOTICE_EVERY_S)
        self._told = {key: at for key, at in self._told.items() if at > quiet}
        return self._told.setdefault((vm_id, type(happening)), now) is now

    async def _not_responding(self, vm_id: VmId, call: str) -> None:
        """Say, once, that the hypervisor gave no answer about a guest, and come back to it."""
        entry = await self._remember(self._journal.entry, vm_id)
        if entry is not None and entry.phase is not None and not entry.is_over and entry.run.responding:
            await self._reporter.report(not_responding(self._host_id, entry, call))
        self._wake_later(vm_id, NO_ANSWER_S)

    async def _report_host(self) -> None:
        await persist(self._health, HYPERVISOR, self._machine.look)
