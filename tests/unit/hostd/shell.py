"""A host daemon on twins in one loop, and a port's call of choice that fails."""

import asyncio
import json
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import wraps
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any

from events import subjects
from events.codec import decode
from events.desired import ActionVerb, DesiredVm
from events.envelope import Message
from events.events import VmDesired
from events.facts import (
    VmActionDone,
    VmBooting,
    VmPaused,
    VmRunning,
    VmStarting,
    VmStopped,
    VmStopping,
)
from events.ids import VmId
from events.machine import MachineFacts
from events.spec import Disk
from events.values import Desired
from infra.eventlog.memory import MemoryConsumer, MemoryLog, MemorySignals, MemoryStream
from infra.runtime.clock import Clock, SystemClock
from infra.runtime.health import Health
from infra.runtime.ids import random_id
from infra.runtime.workers import Workers
from services.hostd.core.domain import Domain, DomainState, Happening
from services.hostd.handler import Daemon
from services.hostd.hypervisor.port import NoAnswer, Started
from services.hostd.hypervisor.simulated import SimulatedHypervisor
from services.hostd.journal import Journal
from tests.support.builders import HOST, VM, a_write, an_action, an_entry, command_id
from tests.support.eventually import eventually

WAIT_S = 60.0
WORKERS = 2
GRACE_S = 30.0
ACTIONS = (ActionVerb.RESUME, ActionVerb.UPDATE, ActionVerb.RESET, ActionVerb.REBOOT)
LIFE: list[type[Message]] = [VmStarting, VmBooting, VmRunning, VmStopping, VmStopped]


@dataclass
class Faults:
    """Counts the calls of every port by name, and raises *error* at the *number*th of those called *at*.

    *after*: the call has come true by then, and only its answer is lost.
    """

    at: str = ""
    number: int = 0
    after: bool = False
    error: Exception | None = None
    calls: Counter[str] = field(default_factory=Counter)

    def wrap(self, port: str, inner: Any) -> Any:
        """Give what looks like *inner*."""
        return _Port(self, port, inner)

    def due(self, name: str, *, after: bool) -> bool:
        """Tell whether this very call fails at this point."""
        return (name, self.calls[name], after) == (self.at, self.number, self.after)


class _Port:
    def __init__(self, faults: Faults, port: str, inner: Any) -> None:
        self._faults, self._port, self._inner = faults, port, inner

    def __getattr__(self, method: str) -> Any:
        found, faults, name = getattr(self._inner, method), self._faults, f"{self._port}.{method}"
        if not callable(found):
            return found

        def before() -> None:
            faults.calls[name] += 1
            if faults.error is not None and faults.due(name, after=False):
                raise faults.error

        def answered(answer: Any) -> Any:
            if faults.error is not None and faults.due(name, after=True):
                raise faults.error
            if name == "desired.fetch":
                return [faults.wrap("delivery", one) for one in answer]
            return answer

        @wraps(found)
        async def call_async(*args: Any, **kwargs: Any) -> Any:
            before()
            answer = await found(*args, **kwargs)
            if name == "desired.fetch" and faults.due(name, after=True):
                for one in answer:  # nobody acknowledges what was lost: it comes again
                    await self._inner.redeliver(one.recorded.seq)
            return answered(answer)

        @wraps(found)
        def call(*args: Any) -> Any:
            before()
            return answered(found(*args))

        return call_async if iscoroutinefunction(found) else call


class CountingHypervisor(SimulatedHypervisor):
    """Counts what it has really done; has no answer about a *mute* guest; lets starts through its *gate*."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        super().__init__(folder, clock)
        self.made = self.ended = self.unanswered = self.at_once = self.most_at_once = 0
        self.order: list[VmId] = []
        self.mute: set[VmId] = set()
        self.gate = asyncio.Event()
        self.gate.set()

    async def domain(self, vm_id: VmId) -> Domain | None:
        if vm_id in self.mute:
            self.unanswered += 1
            raise NoAnswer("domain")
        return await super().domain(vm_id)

    async def start(self, desired: DesiredVm) -> Started:
        self.made += not await self.runs(desired.vm_id)
        self.order.append(desired.vm_id)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.gate.wait()
            return await super().start(desired)
        finally:
            self.at_once -= 1

    async def power_off(self, vm_id: VmId) -> None:
        self.ended += await self.runs(vm_id)
        await super().power_off(vm_id)

    async def runs(self, vm_id: VmId) -> bool:
        """Whether there is a guest that runs."""
        found = await super().domain(vm_id)
        return found is not None and found.state is DomainState.ACTIVE

    def touch(self, vm_id: VmId, happening: Happening | None = None) -> None:
        """Tell the daemon that something has changed."""
        self._changed(vm_id, happening)


@dataclass
class Shell:
    """One daemon and the world around it."""

    folder: Path
    faults: Faults = field(default_factory=Faults)
    stream: MemoryStream = field(default_factory=MemoryStream)
    workers: int = WORKERS
    creates_at_once: int = 4

    def __post_init__(self) -> None:
        self.consumer = MemoryConsumer(self.stream, subjects.host_desired(HOST))
        self.hypervisor = CountingHypervisor(self.folder / "guests", SystemClock())
        self.health = Health("event log", "hypervisor", "journal")

    @property
    def journal_file(self) -> Path:
        return self.folder / "journal.sqlite"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the daemon until the end of the block; then it is cut off wherever it stands."""
        worker, wrap = Workers("journal file", 1), self.faults.wrap
        journal = await worker.run(WAIT_S, Journal, self.journal_file)
        daemon = Daemon(
            host_id=HOST,
            name="rack-1",
            desired=wrap("desired", self.consumer),
            facts=wrap("facts", MemoryLog(self.stream)),
            signals=wrap("signals", MemorySignals()),
            hypervisor=wrap("hypervisor", self.hypervisor),
            journal=wrap("journal", journal),
            creates_at_once=self.creates_at_once,
            storages={},
            kernel=MachineFacts,
            clock=SystemClock(),
            new_id=random_id,
            health=self.health,
        )
        async with asyncio.TaskGroup() as group:
            await daemon.start()
            ways = (daemon.listen, daemon.watch, daemon.publish, daemon.beat, *[daemon.work] * self.workers)
            tasks = [group.create_task(way(), name=way.__name__) for way in ways]
            yield
            for task in tasks:
                task.cancel()
        await worker.run(WAIT_S, journal.close)
        worker.close()

    async def desire(self, entry: DesiredVm) -> None:
        """Tell the host, as the scheduler would."""
        subject = subjects.host_desired(HOST)
        write = a_write(subject, VmDesired(entry=entry))
        self.stream.faults.clear()
        await MemoryLog(self.stream).append([write], {})

    def facts(self, subject: str = subjects.vm_fact(VM, HOST)) -> list[Message]:
        """Everything that was said on a subject."""
        return [decode(one.body)[1] for one in self.stream.on(subject)]

    async def said(self, kind: type[Message], times: int = 1) -> None:
        """Wait until a fact of this kind was published."""

        def holds() -> bool:
            return sum(isinstance(one, kind) for one in self.facts()) >= times

        await self.until(holds, f"{kind.__name__} was published")

    async def done(self, number: int) -> None:
        """Wait until the action of this number was said to be done."""

        def holds() -> bool:
            return any(
                isinstance(one, VmActionDone) and one.token == command_id(number) for one in self.facts()
            )

        await self.until(holds, f"action {number} was done")

    async def until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait, and say what could not be had after which fault."""
        fault = f"{self.faults.at} {self.faults.number} after={self.faults.after} {self.faults.error!r}"
        await eventually(holds, f"{what} (fault: {fault}; {self.health.report()})", WAIT_S)

    def left(self) -> list[object]:
        """What the journal has yet to do, as anyone can read who has the file."""
        db = sqlite3.connect(self.journal_file)
        found = db.execute("SELECT vm_id FROM vm UNION ALL SELECT subject FROM outbox").fetchall()
        db.close()
        return found

    def guest(self) -> dict[str, Any] | None:
        """The guest as its file shows it."""
        try:
            found: dict[str, Any] = json.loads((self.folder / "guests" / f"{VM}.json").read_text())
        except FileNotFoundError:
            return None
        return found


async def live(shell: Shell, grace_s: float = GRACE_S) -> None:
    """Start a VM, stop it, remove it."""
    async with shell.running():
        await shell.desire(an_entry())
        await shell.said(VmRunning)
        await _end(shell, grace_s)


async def live_fully(shell: Shell, grace_s: float = GRACE_S) -> None:
    """Start a VM with a disk, pause it, have it go on, change it, reset it, reboot it; remove it all."""
    changed = an_entry().spec.model_copy(update={"disks": (Disk(name="data", size_mib=1),)})
    entry = an_entry().model_copy(update={"spec": changed})
    async with shell.running():
        await shell.desire(entry)
        await shell.said(VmRunning)
        await shell.desire(entry.model_copy(update={"desired": Desired.PAUSED}))
        await shell.said(VmPaused)
        for number, verb in enumerate(ACTIONS, 1):
            await shell.desire(entry.model_copy(update={"actions": (an_action(number, verb, GRACE_S),)}))
            await shell.done(number)
        await _end(shell, grace_s, entry)


async def _end(shell: Shell, grace_s: float, entry: DesiredVm | None = None) -> None:
    await shell.desire(an_entry(Desired.STOPPED, grace_s=grace_s))
    await shell.said(VmStopped)
    gone = an_entry(Desired.ABSENT)
    await shell.desire(gone.model_copy(update={"spec": entry.spec, "remove_disks": True}) if entry else gone)
    for seq in list(shell.consumer.under_way):
        await shell.consumer.redeliver(seq)  # what was not acknowledged comes again when its time is up
    await shell.until(lambda: shell.guest() is None, "the domain was removed")
    await shell.until(lambda: not shell.left(), "the entry was forgotten and everything published")
    await shell.until(lambda: shell.health.ready, "all is well again")
