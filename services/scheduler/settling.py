"""Settle what hosts report: together where that can be, one by one until it is stored where not."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from events import subjects
from events.facts import HostReported
from events.ids import HostId, VmId
from infra.eventlog.port import Recorded
from infra.runtime.backoff import persist
from infra.runtime.errors import Unavailable
from infra.runtime.health import Health
from services.scheduler.batch import SOURCE, Batch
from services.scheduler.core.decision import NOTHING, Decision, Known
from services.scheduler.core.settle import capacity_of, enlist, settle
from services.scheduler.memory import Memory
from services.scheduler.settings import SchedulerSettings
from services.scheduler.writer import Writer

REDECIDE_MAX = 3
"""Conflicts in a row after which a fact is looked at again later."""
RETRY_S = 0.2
PART = "event log"


@dataclass(frozen=True)
class About:
    """Whom a host has told of: a VM, or itself."""

    kind: Literal["vm", "host"]
    id: UUID


class Settling:
    """What the scheduler does about facts."""

    def __init__(
        self, *, memory: Memory, writer: Writer, settings: SchedulerSettings, health: Health
    ) -> None:
        self._memory = memory
        self._writer = writer
        self._settings = settings
        self._health = health
        self.active = False
        """Whether anything is settled; what is not is left to whoever is active."""
        self._early: dict[About, None] = {}
        """What waits until hosts have had the time to be heard."""

    async def take(self, records: Sequence[Recorded]) -> None:
        """Take *records* in, and while active store in one batch what follows from each as it is read."""
        open_, self._early, batch = self._early, {}, Batch(self._memory)
        async with self._writer.turn:
            for recorded in records:
                self._memory.follow(recorded)
                about = _told_of(recorded) if self.active else None
                decision = self._decide(about) if about is not None else NOTHING
                if about is None or decision is NOTHING:
                    continue
                open_[about] = None
                if batch.has_room(decision) and not self._memory.too_early(decision):
                    batch.add(decision, SOURCE, None)
            try:
                await self._writer.store(batch)
            except Unavailable:
                pass  # Each is looked at by itself now, and that says so.
        for about in open_:
            await self._settle(about)

    async def everything(self) -> None:
        """Settle what was left open."""
        world = self._memory.world
        about = [About("host", host_id) for host_id in sorted(world.reports)]
        about += [About("vm", vm_id) for vm_id in sorted(world.vms)]
        for one in about:
            await self._settle(one)
            await asyncio.sleep(0)

    async def _settle(self, about: About) -> None:
        """Decide until it is stored or there is nothing to store: a fact is never given up on.

        Who is active no more leaves it to whoever is.
        """
        while self.active:
            for _ in range(REDECIDE_MAX):
                if await persist(self._health, PART, lambda: self._stored(about)):
                    return
                if self._memory.too_early(self._decide(about)):
                    self._early[about] = None
                    return
                await persist(self._health, PART, lambda: self._memory.refresh(self._reads(about)))
            await asyncio.sleep(RETRY_S)

    async def _stored(self, about: About) -> bool:
        """Tell whether nothing is left to be stored, which may be done now; raises Unavailable."""
        if self._decide(about) is NOTHING:
            return True  # The way of nearly all: no turn is waited for.
        async with self._writer.turn:
            decision, batch = self._decide(about), Batch(self._memory)
            if decision is NOTHING:
                return True
            if self._memory.too_early(decision):
                return False
            batch.add(decision, SOURCE, None)
            return await self._writer.store(batch)

    def _decide(self, about: About) -> Decision:
        """Say what follows from what is known; nothing does from what cannot be read."""
        if self._memory.any_unreadable(self._reads(about)):
            return NOTHING
        if about.kind == "vm":
            decision = settle(self._memory.scene(VmId(about.id), None))
            return NOTHING if self._memory.any_unreadable(decision.guards or {}) else decision
        host_id = HostId(about.id)
        report = self._memory.world.reports.get(host_id, Known[HostReported]()).value
        if report is None:
            return NOTHING
        capacity = capacity_of(report, self._settings.vcpus_per_core, self._settings.host_reserve_mib)
        return enlist(report, self._memory.world.host(host_id), capacity)

    def _reads(self, about: About) -> Sequence[str]:
        if about.kind == "host":
            return [subjects.host_ctl(HostId(about.id))]
        return self._memory.reads(VmId(about.id))


def _told_of(recorded: Recorded) -> About | None:
    """Say whom a host speaks of; None: it is no host's word, or cannot be read."""
    try:
        subject = subjects.parse_event(recorded.subject)
        match subject.kind:
            case "vm" | "host" as kind if subject.host_id is not None:
                return About(kind, subject.uuid)
            case _:
                return None
    except ValueError:
        return None  # Said when it was folded.
