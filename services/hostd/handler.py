"""Fold what is desired and reconcile each VM; what is seen is said through the reporter."""

import asyncio
from collections.abc import Callable, Collection
from uuid import UUID

import structlog

from events import codec
from events.events import VmDesired
from events.facts import VmRunning
from events.ids import HostId, VmId
from events.values import DesiredVm
from infra.eventlog.port import Consumer, Delivery, FactLog, Signals
from infra.runtime.backoff import persist
from infra.runtime.clock import Clock
from infra.runtime.errors import Unavailable
from infra.runtime.health import Health
from infra.runtime.workers import Workers
from services.hostd.core.reconcile import (
    PROBE_AGAIN_S,
    AskShutdown,
    Domain,
    DomainState,
    Entry,
    Forget,
    Idle,
    PowerOff,
    ProbeAgent,
    Report,
    Start,
    Undefine,
    Wait,
    fact,
    reconcile,
    start_failed,
)
from services.hostd.hypervisor.port import Hypervisor, HypervisorRefused, Image
from services.hostd.journal import Journal
from services.hostd.remember import JOURNAL, Remember
from services.hostd.reporter import LOG, Reporter

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
IMAGE_TIMEOUT_S, IMAGE_THREADS = 5.0, 4
"""The image storage may be a network's: read on the event loop it could stop the heartbeats."""

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
        find_image: Callable[[str], Image],
        clock: Clock,
        new_id: Callable[[], UUID],
        health: Health,
    ) -> None:
        self._host_id = host_id
        self._desired = desired
        self._hypervisor = hypervisor
        self._journal = journal
        self._image_worker = Workers("image storage", IMAGE_THREADS)
        self._find_image = find_image
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
        self._logger = structlog.get_logger().bind(host=name)
        self._dirty: asyncio.Queue[VmId] = asyncio.Queue()
        self._queued: set[VmId] = set()
        self._busy: set[VmId] = set()
        self._again: set[VmId] = set()
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
            for vm_id in await self._remember(self._journal.fold, messages, self._clock.now()):
                self.wake(vm_id)
            for delivery in deliveries:
                try:
                    await delivery.ack()
                except Unavailable:
                    break  # They come again, and are known by their sequence.

    async def work(self) -> None:
        """Reconcile one VM after the other, for ever; several of these run side by side."""
        while True:
            vm_id = await self._dirty.get()
            self._queued.discard(vm_id)
            if vm_id in self._busy:
                self._again.add(vm_id)
                continue
            self._busy.add(vm_id)
            try:
                await self._reconcile(vm_id)
            except Unavailable as err:
                if self._health.down(HYPERVISOR, str(err)):
                    self._logger.warning("outage_began", part=HYPERVISOR, reason=err.why)
                self._reconnect.set()
                self._wake_later(vm_id, RETRY_S)
            except HypervisorRefused as err:
                # Not a start, whose refusal is a fact: something to end or remove that would not go.
                self._logger.warning("hypervisor_refused", vm_id=str(vm_id), reason=str(err))
                self._wake_later(vm_id, RETRY_S)
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

    async def start(self) -> None:
        """Connect to the hypervisor and report what this host is."""
        await persist(self._health, HYPERVISOR, lambda: self._hypervisor.connect(self.changed))
        self._health.up(JOURNAL)
        await self._report_host()
        known = await self._remember(self._journal.vm_ids)
        await self._name_unknown(known)
        for vm_id in known:
            self.wake(vm_id)

    def changed(self, vm_id: VmId | None) -> None:
        """Hear from the hypervisor: this VM changed, or (None) the connection is gone."""
        if vm_id is None:
            self._reconnect.set()
        else:
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
        entry, domain = await self._look(vm_id)
        for _ in range(STEPS_MAX):
            if entry is None:
                return  # Not ours to touch: no entry, no action.
            step = reconcile(self._host_id, entry, domain, self._clock.now())
            match step:
                case Idle():
                    return
                case Wait(seconds=seconds):
                    self._wake_later(vm_id, seconds)
                    return
                case ProbeAgent():
                    if not await self._hypervisor.agent_answers(vm_id):
                        self._wake_later(vm_id, PROBE_AGAIN_S)
                        return
                    await self._reporter.report(fact(VmRunning, self._host_id, entry.desired))
                case Report(fact=seen):
                    entry = await self._reporter.report(seen)
                    continue  # What we say does not change what is there; a change wakes us again.
                case Start():
                    domain = await self._start(entry)
                    if domain is not None:
                        continue  # An order that came meanwhile is met as soon as this one is reported.
                case AskShutdown():
                    await self._remember(self._journal.asked, entry.desired, self._clock.now())
                    await self._ask_shutdown(vm_id)
                case PowerOff(forced=forced):
                    if forced:
                        await self._remember(self._journal.forcing, entry.desired)
                    await self._hypervisor.power_off(vm_id)
                case Undefine():
                    await self._hypervisor.undefine(vm_id)
                case Forget():
                    await self._remember(self._journal.forget, entry.desired)
                    return
            entry, domain = await self._look(vm_id)
        self.wake(vm_id)

    async def _look(self, vm_id: VmId) -> tuple[Entry | None, Domain | None]:
        """See what is desired, and what is there."""
        entry = await self._remember(self._journal.entry, vm_id)
        return entry, await self._hypervisor.domain(vm_id) if entry is not None else None

    async def _start(self, entry: Entry) -> Domain | None:
        """Start the domain and show it as it is then; None where that has to be looked at."""
        try:
            image = await self._image_worker.run(IMAGE_TIMEOUT_S, self._find_image, entry.desired.spec.image)
            await self._hypervisor.start(entry.desired, image)
            return Domain(entry.desired.vm_id, entry.desired.generation, DomainState.ACTIVE)
        except HypervisorRefused as err:
            domain = await self._hypervisor.domain(entry.desired.vm_id)
            if domain is not None and domain.state is DomainState.ACTIVE:
                return domain  # An earlier call that we gave up on has come true meanwhile.
            await self._reporter.report(start_failed(self._host_id, entry.desired, str(err)))
            return None

    async def _ask_shutdown(self, vm_id: VmId) -> None:
        try:
            await self._hypervisor.ask_shutdown(vm_id)
        except HypervisorRefused as err:
            # The guest may yet go by itself; when grace has run out it is powered off.
            self._logger.info("guest_not_asked", vm_id=str(vm_id), reason=str(err))

    async def _report_host(self) -> None:
        await self._reporter.report_host(await persist(self._health, HYPERVISOR, self._hypervisor.machine))
