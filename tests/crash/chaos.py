"""Every verb while everything is killed at random: services, the log, the database."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from tests.crash.world import World
from tests.support.postgres import PostgresServer
from tests.support.stack import NatsServer

AT_ONCE = 8
"""VMs that live side by side."""
RUNS = (
    ("start", "stop"),
    ("start", "pause", "resume", "reboot", "power-off"),
    ("start", "update", "stop"),
    ("start-paused", "reset", "resume", "power-off"),
)
"""What is asked of a VM from one start to the stop, in turn."""
PAUSE_S = (0.3, 2.5)
"""Between two kills: long enough for something to have begun again, mostly."""


@dataclass
class Chaos:
    """Who kills, and what was killed how often."""

    world: World
    nats: NatsServer
    postgres: PostgresServer
    random: Random
    say: Callable[[str], None]
    kills: dict[str, int] = field(default_factory=dict)
    done: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, pairs: int) -> None:
        """Start and stop so many times in all, under kills; at the end all is whole."""
        shares = [pairs // AT_ONCE + (number < pairs % AT_ONCE) for number in range(AT_ONCE)]
        async with asyncio.TaskGroup() as storm:
            storm.create_task(self._kill())
            await asyncio.gather(*(self._live(number, share) for number, share in enumerate(shares)))
            self.over.set()
        for subject in self.world.subjects.values():
            await subject.ready()
        await self.world.client.verified()
        operations = self.world.client.operations
        assert len(operations) == len(set(operations)), "one operation answered for two requests"

    async def _live(self, number: int, pairs: int) -> None:
        client = self.world.client
        vm = await client.do("create", f"chaos-{number}", f"{number}-create")
        for turn in range(pairs):
            for flow in RUNS[(number + turn) % len(RUNS)]:
                await client.do(flow, vm, f"{number}-{turn}-{flow}")
                await client.settled(flow, vm)
            self.done += 1
            if self.done % 50 == 0:
                self.say(f"{self.done} starts and stops; killed {self.kills}")
        await client.do("delete", vm, f"{number}-delete")

    async def _kill(self) -> None:
        targets = [*self.world.subjects, "nats", "postgres"]
        while not await self._over_within(self.random.uniform(*PAUSE_S)):
            target = self.random.choice(targets)
            self.kills[target] = self.kills.get(target, 0) + 1
            match target:
                case "nats":
                    self.nats.restart()
                case "postgres":
                    self.postgres.kill()
                    self.postgres.start()
                case _:
                    self.world.subjects[target].kill()

    async def _over_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await self.over.wait()
        except TimeoutError:
            return False
