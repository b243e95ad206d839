"""Fold what is desired, reconcile each VM, publish what was seen."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar
from uuid import UUID

import structlog

from events import codec, subjects
from events.envelope import Origin, Sealed
from events.events import VmDesired
from events.facts import HostReported, VmFact, VmRunning
from events.ids import EventId, HostId, VmId
from events.values import DesiredVm
from infra.eventlog.port import Consumer, Delivery, FactLog, Signals, Write
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

FETCH_MAX = 64
FETCH_WAIT_S = 1.0
PUBLISH_MAX = 64
HEARTBEAT_S = 1.0
RESYNC_S = 10.0
"""How often every VM is looked at although nothing was heard of it."""
STEPS_MAX = 16
"""Steps in a row for one VM; then others have their turn."""
RETRY_S = 1.0
AGAIN_S = 0.05
"""When a VM is looked at again that changed while it was worked on: most such changes are our own doing, and
what we did is on its way to the log first."""
JOURNAL_TIMEOUT_S = 10.0
IMAGE_TIMEOUT_S, IMAGE_THREADS = 5.0, 4
"""The image storage may be a network's: read on the event loop it could stop the heartbeats."""

LOG, HYPERVISOR, JOURNAL = "event log", "hypervisor", "journal"

P = ParamSpec("P")
T = TypeVar("T")


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
        self._name = name
        self._desired = desired
        self._facts = facts
        self._signals = signals
        self._hypervisor = hypervisor
        self._journal = journal
        self._journal_worker = Workers("journal", 1)
        self._image_worker = Workers("image storage", IMAGE_THREADS)
        self._find_image = find_image
        self._clock = clock
        self._new_id = new_id
        self._health = health
        self._logger = structlog.get_logger().bind(host=name)
        self._dirty: asyncio.Queue[VmId] = asyncio.Queue()
        self._queued: set[VmId] = set()
        self._busy: set[VmId] = set()
        self._again: set[VmId] = set()
        self._publish = asyncio.Event()
        self._reconnect = asyncio.Event()
        self._reported: HostReported | None = None

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
        """Publish what the journal holds, in order, one at a time, for ever."""
        while True:
            self._publish.clear()
            for outgoing in await self._remember(self._journal.outgoing, 1):
                seq = await persist(
                    self._health,
                    LOG,
                    lambda out=outgoing: self._facts.publish(out.write, out.expected),  # type: ignore[misc]
                )
                await self._remember(self._journal.published, outgoing, seq)
                self._publish.set()
            await self._publish.wait()

    async def beat(self) -> None:
        """Say that this host is there, for ever."""
        while True:
            try:
                await self._signals.send(subjects.heartbeat(self._host_id), b"{}")
            except Unavailable:
                pass  # The log's own outage is said elsewhere; the next beat comes.
            await asyncio.sleep(HEARTBEAT_S)

    async def start(self) -> None:
        """Connect to the hypervisor and report what this host is."""
        await persist(self._health, HYPERVISOR, lambda: self._hypervisor.connect(self.changed))
        self._health.up(JOURNAL)
        await self._report_host()
        for vm_id in await self._remember(self._journal.vm_ids):
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
                    await self._report(fact(VmRunning, self._host_id, entry.desired))
                case Report(fact=seen):
                    entry = await self._report(seen)
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
            await self._report(start_failed(self._host_id, entry.desired, str(err)))
            return None

    async def _ask_shutdown(self, vm_id: VmId) -> None:
        try:
            await self._hypervisor.ask_shutdown(vm_id)
        except HypervisorRefused as err:
            # The guest may yet go by itself; when grace has run out it is powered off.
            self._logger.info("guest_not_asked", vm_id=str(vm_id), reason=str(err))

    async def _report(self, seen: VmFact) -> Entry | None:
        """Write down and have published what was seen; give the entry as it is then."""
        subject = subjects.vm_fact(seen.vm_id, self._host_id)
        entry = await self._remember(self._journal.report, seen, self._seal(subject, seen))
        self._logger.info(seen.TYPE, vm_id=str(seen.vm_id), generation=seen.generation)
        self._publish.set()
        return entry

    async def _report_host(self) -> None:
        machine = await persist(self._health, HYPERVISOR, self._hypervisor.machine)
        report = HostReported(
            host_id=self._host_id,
            name=self._name,
            cores=machine.cores,
            memory_mib=machine.memory_mib,
            versions=machine.versions,
            boot_id=machine.boot_id,
        )
        if report != self._reported:
            write = self._seal(subjects.host_fact(self._host_id), report)
            await self._remember(self._journal.publish_later, write)
            self._reported = report
            self._publish.set()

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

    async def _remember(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the journal on its thread, for as long as it takes: nothing goes on without it."""

        def attempt() -> Awaitable[T]:
            return self._journal_worker.run(JOURNAL_TIMEOUT_S, call, *args, **kwargs)

        return await persist(self._health, JOURNAL, attempt)
