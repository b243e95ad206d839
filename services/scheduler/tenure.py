"""Of several schedulers one is active, by a lease; the others keep their world warm and wait.

The lease saves work that would be refused: that two never decide the same is the guards' doing alone.
"""

import asyncio
from collections.abc import Sequence

import structlog

from events.ids import Seq
from infra.eventlog.port import Consumer, Delivery, Recorded
from infra.leases.service import ServiceLease
from infra.runtime.backoff import persist
from infra.runtime.errors import Unavailable
from infra.runtime.health import Health
from infra.runtime.service import background
from services.scheduler.handler import Scheduler
from services.scheduler.settling import PART

LEASE_PART = "lease"


class InHand:
    """A command that was handed out and waits to be settled."""

    def __init__(self, delivery: Delivery, hand: dict[Seq, Delivery]) -> None:
        self._delivery, self._hand = delivery, hand

    @property
    def recorded(self) -> Recorded:
        return self._delivery.recorded

    async def ack(self, *, wait: bool = True) -> None:
        await self._delivery.ack(wait=wait)
        self._hand.pop(self.recorded.seq, None)

    async def retry(self, delay_s: float) -> None:
        await self._delivery.retry(delay_s)
        self._hand.pop(self.recorded.seq, None)


class Commands:
    """A consumer that can give back what it has handed out, as `port.Consumer` describes it."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._hand: dict[Seq, Delivery] = {}

    async def fetch(self, most: int, wait_s: float) -> Sequence[Delivery]:
        taken = await self._consumer.fetch(most, wait_s)
        self._hand |= {one.recorded.seq: one for one in taken}
        return [InHand(one, self._hand) for one in taken]

    async def close(self) -> None:
        """Give back all that is not settled; whoever is at work on it must have been ended."""
        for delivery in list(self._hand.values()):
            await InHand(delivery, self._hand).retry(0)
        await self._consumer.close()

    async def reclaim(self) -> None:
        await self._consumer.reclaim()


class Tenure:
    """The life of one scheduler: passive, active, passive."""

    def __init__(
        self, *, scheduler: Scheduler, commands: Commands, lease: ServiceLease, health: Health
    ) -> None:
        self._scheduler = scheduler
        self._commands = commands
        self._lease = lease
        self._health = health
        self._logger = structlog.get_logger()

    async def live(self) -> None:
        """Be active whenever the lease can be had, for ever; hand over at once when told to stop."""
        try:
            while True:
                await self._win()
                await self._reign()
                await persist(self._health, PART, self._commands.close)
        finally:
            await self._hand_over()

    async def _win(self) -> None:
        """Wait until the lease is ours."""
        stands_by = False
        while not await persist(self._health, LEASE_PART, self._lease.take):
            if not stands_by:
                self._logger.info("scheduler_stands_by", active=self._lease.holder)
            stands_by = True
            await asyncio.sleep(self._lease.timing.look_s)

    async def _reign(self) -> None:
        """Be active for as long as the lease is ours, by our own clock."""
        self._logger.info("scheduler_active")
        self._scheduler.active = True
        try:
            async with background(self._work()):
                await self._keep()
        finally:
            self._scheduler.active = False
        self._logger.warning("scheduler_passive", active=self._lease.holder)

    async def _work(self) -> None:
        await self._scheduler.settle_open()
        # What a dead predecessor had fetched would come again by itself, but only after its 30 s.
        await persist(self._health, PART, self._commands.reclaim)
        await self._scheduler.serve()

    async def _keep(self) -> None:
        """Renew the lease until it is lost."""
        timing, wait_s = self._lease.timing, self._lease.timing.renew_s
        try:
            while self._lease.held:
                await asyncio.sleep(min(wait_s, self._lease.left_s))
                try:
                    async with asyncio.timeout(self._lease.left_s):
                        await self._lease.renew()
                    self._health.up(LEASE_PART, "renewal")
                    wait_s = timing.renew_s
                except (Unavailable, TimeoutError) as err:
                    self._health.down(LEASE_PART, str(err) or "no answer in time", "renewal")
                    wait_s = timing.again_s
        finally:
            self._health.up(LEASE_PART, "renewal")  # Nothing is renewed any more.

    async def _hand_over(self) -> None:
        """Let another begin now; what cannot be told now runs out by itself."""
        for tell in (self._commands.close, self._lease.release):
            try:
                await tell()
            except Unavailable as err:
                self._logger.info("handover_untold", reason=str(err))
