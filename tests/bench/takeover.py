"""How long nobody decides after the active scheduler was killed, and after it was told to stop."""

import asyncio
import os
import signal
import sys
import tempfile
import time
from asyncio.subprocess import Process
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from nats.aio.client import Client

from events import codec, subjects
from events.commands import CreateVm, StartVm
from events.events import CommandEnded, VmPlaced
from events.facts import HostReported
from events.ids import CommandId, HostId, Seq, VmId
from infra.deploy.identities import seed_file
from infra.deploy.streams import ensure_command_consumer, ensure_streams, streams
from infra.embedded.nats import EmbeddedNats
from infra.eventlog.connection import closer, connect
from infra.eventlog.jetstream import JetStreamLog
from infra.eventlog.port import Follower
from infra.leases.term import read
from infra.runtime.ids import random_id
from infra.runtime.service import background
from sim.reading import read_ledger
from tests.bench.result import Result, spread
from tests.support.builders import a_write, host_id, report, spec
from tests.support.eventually import eventually
from tests.support.stack import NatsServer

GIB = 1024**3
KILLS, STOPS = 7, 5
HOSTS = 3
PACE_S = 0.25
"""A VM is created and started so often."""
BEAT_S = 1.0
WITHIN_S = 90.0
"""What the dead one had taken comes again after 30 s."""
LEASE = subjects.service_lease("scheduler")


@dataclass
class Load:
    """A client that asks at a steady pace, hosts that are heard, and what was decided when."""

    client: Client
    commands: JetStreamLog
    asked: dict[CommandId, float] = field(default_factory=dict)
    answered: dict[CommandId, float] = field(default_factory=dict)
    enough: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self) -> None:
        """Ask, until told that it is enough."""
        while not await self.enough_within(PACE_S):
            vm_id, create, start = VmId(random_id()), CommandId(random_id()), CommandId(random_id())
            name = f"bench-{vm_id.hex[:12]}"
            for id_, command in (
                (create, CreateVm(vm_id=vm_id, spec=spec(name))),
                (start, StartVm(vm_id=vm_id)),
            ):
                self.asked[id_] = time.perf_counter()
                subject = subjects.command(vm_id, id_)
                write = a_write(subject, command, event_id=id_, operation=id_)
                await self.commands.append([write], {subject: Seq(0)})

    async def beat(self) -> None:
        """Let the hosts be heard."""
        while not await self.enough_within(BEAT_S):
            for number in range(HOSTS):
                await self.client.publish(subjects.heartbeat(host_id(number)), b"")

    async def enough_within(self, seconds: float) -> bool:
        """Wait for the end of the measurement, for so long; tell whether it has come."""
        try:
            async with asyncio.timeout(seconds):
                return await self.enough.wait()
        except TimeoutError:
            return False

    async def listen(self, follower: Follower) -> None:
        """Note when each command was first decided, for ever."""
        while True:
            for recorded in await follower.next(256, 1.0):
                now = time.perf_counter()
                envelope, event = codec.decode(recorded.body)
                if isinstance(event, CommandEnded | VmPlaced) and envelope.correlationid is not None:
                    self.answered.setdefault(CommandId(envelope.correlationid), now)

    def first_after(self, instant: float) -> float | None:
        """Give when the first command that was asked after *instant* was decided."""
        return min(
            (at for id_, at in self.answered.items() if self.asked.get(id_, 0) > instant), default=None
        )


@dataclass
class Schedulers:
    """Two of them, each at a place of its own."""

    nats: EmbeddedNats
    keys: Path
    folder: Path
    leases: JetStreamLog
    running: dict[str, Process] = field(default_factory=dict)

    async def start(self, place: str) -> None:
        """Start one and wait until it serves or stands by."""
        log = self.folder / f"{place}.log"
        env = {
            **os.environ,
            "ROOST_NATS_URL": self.nats.url,
            "ROOST_NATS_SEED_FILE": str(seed_file(self.keys, "scheduler")),
            "ROOST_REPLICA": place,
        }
        with log.open("wb") as sink:
            self.running[place] = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "services.scheduler.main", env=env, stdout=sink, stderr=sink
            )
        told = ("scheduler_active", "scheduler_stands_by")
        await eventually(lambda: any(one in log.read_text() for one in told), f"{place} has its part")

    async def active(self) -> str:
        """Say who holds the lease."""
        last = await self.leases.load(LEASE)
        claim = read(last.body) if last is not None else None
        assert claim is not None
        return claim.holder

    def stop(self) -> None:
        """End whoever runs."""
        for process in self.running.values():
            if process.returncode is None:
                process.kill()


def measure() -> Sequence[Result]:
    """Run all rounds on one server."""
    with tempfile.TemporaryDirectory(prefix="roost-bench-") as folder:
        Path(folder).chmod(0o711)
        return asyncio.run(_measure(Path(folder)))


async def _measure(folder: Path) -> Sequence[Result]:
    keys = folder / "keys"
    nats = EmbeddedNats(folder / "nats", keys)
    async with AsyncExitStack() as stack:
        stack.callback(nats.stop)
        server = NatsServer(nats, keys)
        client = await connect(server.url, seed_file(keys, "bootstrap"), "bootstrap", lambda _: None)
        stack.push_async_callback(closer(client))
        await ensure_streams(client, streams(GIB, GIB, 1))
        await ensure_command_consumer(client)
        events, commands, leases = (JetStreamLog(client, one, random_id) for one in ("EVT", "CMD", "LEASE"))
        for number in range(HOSTS):
            host = host_id(number)
            await events.append([a_write(subjects.host_fact(host), _huge(host))], {})
        both = Schedulers(nats, keys, folder, leases)
        stack.callback(both.stop)
        load = Load(client, commands)
        follower = events.follow(Seq(0), [subjects.EVT_ALL])
        async with background(load.beat()), background(load.listen(follower)):
            for place in ("one", "two"):
                await both.start(place)
            async with background(load.ask()):
                await eventually(lambda: load.first_after(0) is not None, "the first decision")
                kills = [await _round(both, load, signal.SIGKILL) for _ in range(KILLS)]
                stops = [await _round(both, load, signal.SIGTERM) for _ in range(STOPS)]
                load.enough.set()
                await eventually(lambda: load.asked.keys() <= load.answered.keys(), "all decided", WITHIN_S)
        await follower.close()
        ledger = await read_ledger(events)
        ledger.check()
        return [_result(load, kills, stops)]


async def _round(both: Schedulers, load: Load, number: signal.Signals) -> float:
    """End the active one; give how long it took until the other had decided, and start it again."""
    ended = await both.active()
    (other,) = both.running.keys() - {ended}
    process = both.running[ended]
    began = time.perf_counter()
    process.send_signal(number)
    # What was asked later can have been decided by the other alone, once this one is dead.
    died = began if number is signal.SIGKILL else await _gone(process, began)
    await eventually(lambda: load.first_after(died) is not None, "a decision of the other")
    first = load.first_after(died)
    assert first is not None
    assert await both.active() == other
    await process.wait()
    await both.start(ended)
    return first - began


async def _gone(process: Process, began: float) -> float:
    await process.wait()
    return max(began, time.perf_counter())


def _result(load: Load, kills: Sequence[float], stops: Sequence[float]) -> Result:
    waits = [load.answered[id_] - at for id_, at in load.asked.items()]
    late = [one for one in waits if one > max(kills) + 1]
    detail = {
        **spread(kills),
        "stop_s": spread(stops),
        "commands": len(waits),
        "in_a_dead_ones_hands": len(late),
        "longest_wait_s": round(max(waits), 2),
    }
    return Result("scheduler.takeover_s", round(max(kills), 2), "s", 3, detail)


def _huge(host: HostId) -> HostReported:
    return report(host, cores=4096, memory_mib=16 * 1024 * 1024)
