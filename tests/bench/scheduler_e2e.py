"""From a command in the log to its row: scheduler and projector as processes, real NATS and PostgreSQL.

A thousand hosts are in the log and heard; nobody runs what is placed on them. A start counts when the batch
that places its VM is acknowledged and the read model has passed it.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from uuid import UUID

import asyncpg
from nats.aio.msg import Msg
from pydantic import SecretStr

from events import subjects
from events.commands import StartVm
from events.events import HostReserved, VmCreated, VmPlaced
from events.ids import BEGINNING, CommandId, Generation, HostId, VmId
from events.values import Desired, Placement
from events.vm import Vm
from infra.deploy.bootstrap import BootstrapSettings, bootstrap
from infra.deploy.identities import ensure_identity, seed_file
from infra.dev.children import Children
from infra.embedded.nats import EmbeddedNats
from infra.embedded.postgres import EmbeddedPostgres
from infra.eventlog.connection import closer, connect
from infra.eventlog.jetstream import JetStreamLog
from infra.eventlog.port import Write
from infra.runtime.ids import random_id
from infra.runtime.service import background
from services.scheduler.core.place import tell_host
from tests.bench.result import Result, percentile
from tests.support.builders import a_host, a_write, report, spec
from tests.support.eventually import eventually, moment

HOSTS, VMS = 1000, 100_000
CORES, MEMORY_MIB = 64, 262_144
CHUNK = 500
SUSTAINED_S, HALF_S, LIMIT_S = 60.0, 30.0, 8.0
WINDOW = 1000
"""Starts under way at once while as many as can be are asked for."""
SENDERS = 64
TOGETHER = 64
"""Decisions in one append, where the log alone is measured."""
LOOK_S = 0.01
BEAT_S = 3.0
SETTLE_TIMEOUT_S = 120.0
NAMES = (
    "scheduler.e2e_per_s",
    "scheduler.e2e_p99_ms",
    "scheduler.e2e_share_of_limit",
    "scheduler.ready_s_100k_vms",
)


@dataclass
class Rig:
    """The servers and services of one run, and a hand that writes as the API and the hosts would."""

    folder: Path
    nats: EmbeddedNats
    postgres: EmbeddedPostgres
    events: JetStreamLog
    commands: JetStreamLog
    children: Children
    signal: Callable[[str, bytes], Awaitable[None]]
    sent: dict[UUID, float] = field(default_factory=dict)
    """VM to when its start was asked for."""
    placed: dict[UUID, int] = field(default_factory=dict)
    """VM to the sequence that placed it, while its row is not there."""
    lags: list[tuple[float, float]] = field(default_factory=list)
    """When a row was seen, and how long after the command was sent."""
    news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def placed_one(self, message: Msg) -> None:
        """Note the word on a VM that has just been stored."""
        vm_id = UUID(message.subject.split(".")[3])
        if vm_id in self.sent and message.headers is not None:
            self.placed[vm_id] = int(message.headers["Nats-Sequence"])

    async def look(self) -> None:
        """Look for ever which rows are there."""
        connection = await asyncpg.connect(_plain(self.postgres.dsn))
        while True:
            await moment(time.perf_counter() + LOOK_S)
            at = await connection.fetchval("select seq from checkpoint where stream = 'EVT'")
            now = time.perf_counter()
            seen = [vm_id for vm_id, seq in self.placed.items() if seq <= (at or 0)]
            for vm_id in seen:
                del self.placed[vm_id]
                self.lags.append((now, now - self.sent.pop(vm_id)))
            if seen:
                async with self.news:
                    self.news.notify_all()

    async def beat(self) -> None:
        """Let every host be heard, for ever."""
        while True:
            began = time.perf_counter()
            for number in range(HOSTS):
                await self.signal(subjects.heartbeat(_host(number)), b"")
                if number % 50 == 0:
                    await moment(time.perf_counter() + 0.01)
            await moment(began + BEAT_S)

    async def start(self, number: int) -> None:
        """Ask for the start of one VM, as the API does."""
        vm_id, command_id = _vm(number), CommandId(random_id())
        subject = subjects.command(vm_id, command_id)
        write = a_write(subject, StartVm(vm_id=vm_id), event_id=command_id, operation=command_id)
        self.sent[vm_id] = time.perf_counter()
        await self.commands.append([write], {subject: BEGINNING})

    async def flat_out(self, numbers: Iterator[int], for_s: float) -> None:
        """Keep WINDOW starts under way."""
        until = time.perf_counter() + for_s

        async def sender() -> None:
            while time.perf_counter() < until:
                async with self.news:
                    await self.news.wait_for(lambda: len(self.sent) < WINDOW)
                await self.start(next(numbers))

        async with asyncio.TaskGroup() as group:
            for _ in range(SENDERS):
                group.create_task(sender())

    async def at_rate(self, numbers: Iterator[int], rate: float, for_s: float) -> None:
        """Ask for so many starts a second, whatever becomes of them."""
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for index in range(int(rate * for_s)):
                await moment(began + index / rate)
                group.create_task(self.start(next(numbers)))

    async def settled(self) -> None:
        """Wait until all that was asked for is there."""
        async with asyncio.timeout(SETTLE_TIMEOUT_S), self.news:
            await self.news.wait_for(lambda: not self.sent)


def measure() -> Sequence[Result]:
    """Measure all of it in one run."""
    with tempfile.TemporaryDirectory(prefix="roost-bench-") as folder:
        Path(folder).chmod(0o711)
        return asyncio.run(_measure(Path(folder)))


async def _measure(folder: Path) -> Sequence[Result]:
    limit = await _limit(folder / "limit")
    async with _rig(folder / "rig") as rig, background(rig.look()), background(rig.beat()):
        numbers = count()
        began = time.perf_counter()
        await rig.flat_out(numbers, SUSTAINED_S)
        await rig.settled()
        per_s = len(rig.lags) / (rig.lags[-1][0] - began)
        busy = [lag * 1000 for _, lag in rig.lags]
        rig.lags.clear()
        await rig.at_rate(numbers, per_s / 2, HALF_S)
        await rig.settled()
        quiet = [lag * 1000 for _, lag in rig.lags]
        ready = await _ready(rig)
    detail = {"hosts": HOSTS, "seconds": SUSTAINED_S, "under_way": WINDOW, "log_alone_per_s": round(limit)}
    return [
        Result(
            NAMES[0],
            round(per_s),
            "1/s",
            1000,
            {**detail, "p50_ms": round(statistics.median(busy)), "p99_ms": round(percentile(busy, 0.99))},
            more_is_better=True,
        ),
        Result(
            NAMES[1],
            round(percentile(quiet, 0.99), 1),
            "ms",
            100,
            {
                "asked_per_s": round(per_s / 2),
                "runs": len(quiet),
                "p50_ms": round(statistics.median(quiet), 1),
            },
        ),
        Result(NAMES[2], round(per_s / limit, 3), "", 0.6, detail, more_is_better=True),
        Result(NAMES[3], round(ready, 2), "s", 10, {"vms": VMS, "hosts": HOSTS}),
    ]


async def _ready(rig: Rig) -> float:
    """Kill the scheduler and start it again on all that is in the log."""
    child = rig.children.children["scheduler"]
    assert child.process is not None
    child.process.kill()
    began = time.perf_counter()
    child.launch()
    await rig.children.ready()
    return time.perf_counter() - began


@asynccontextmanager
async def _rig(folder: Path) -> AsyncIterator[Rig]:
    async with AsyncExitStack() as stack:
        nats, log_client = await _nats(folder, stack)
        postgres = EmbeddedPostgres(folder / "postgres", folder / "keys")
        stack.callback(postgres.remove)
        stack.callback(postgres.stop)
        await asyncio.to_thread(postgres.start)
        await bootstrap(_settings(nats, folder, postgres.dsn), [])
        client, events, commands = log_client
        (folder / "logs").mkdir()
        children = Children(folder / "logs")
        stack.callback(children.stop)
        rig = Rig(folder, nats, postgres, events, commands, children, client.publish)
        await _populate(rig)
        await client.subscribe("live.evt.vm.*.ctl", cb=rig.placed_one)
        for name, more in (("projector", {"ROOST_POSTGRES_DSN": postgres.dsn}), ("scheduler", {})):
            env = {"ROOST_NATS_URL": nats.url, "ROOST_NATS_SEED_FILE": str(seed_file(folder / "keys", name))}
            children.add(name, f"services.{name}.main", env | more)
        await children.ready()
        await _caught_up(rig)
        yield rig


async def _nats(folder: Path, stack: AsyncExitStack):  # type: ignore[no-untyped-def]
    folder.mkdir()
    folder.chmod(0o711)
    nats = EmbeddedNats(folder / "nats", folder / "keys")
    stack.callback(nats.stop)
    ensure_identity(folder / "keys", "bootstrap")
    nats.start({})
    client = await connect(nats.url, seed_file(folder / "keys", "bootstrap"), "bootstrap", lambda _: None)
    stack.push_async_callback(closer(client))
    events, commands = (JetStreamLog(client, name, random_id) for name in ("EVT", "CMD"))
    return nats, (client, events, commands)


def _settings(nats: EmbeddedNats, folder: Path, dsn: str) -> BootstrapSettings:
    seed = seed_file(folder / "keys", "bootstrap")
    return BootstrapSettings(nats_url=nats.url, nats_seed_file=seed, postgres_dsn=SecretStr(dsn))


async def _populate(rig: Rig) -> None:
    """Put hosts and VMs into the log."""
    hosts = [report(_host(number), cores=CORES, memory_mib=MEMORY_MIB) for number in range(HOSTS)]
    for one in hosts:
        write = a_write(subjects.host_fact(one.host_id), one)
        await rig.events.append([write], {write.subject: BEGINNING})
    for first in range(0, VMS, CHUNK):
        writes = [_created(number) for number in range(first, first + CHUNK)]
        await rig.events.append(writes, {write.subject: BEGINNING for write in writes})


async def _caught_up(rig: Rig) -> None:
    connection = await asyncpg.connect(_plain(rig.postgres.dsn))

    async def known() -> bool:
        hosts = await connection.fetchval("select count(*) from hosts where vcpus > 0")
        return (hosts, await connection.fetchval("select count(*) from vms")) == (HOSTS, VMS)

    await eventually(known, "all hosts and VMs have rows", SETTLE_TIMEOUT_S)
    await connection.close()


async def _limit(folder: Path) -> float:
    """Say how many starts a second the log alone takes: their commands, and their batches."""
    async with AsyncExitStack() as stack:
        nats, (_, events, commands) = await _nats(folder, stack)
        postgres = EmbeddedPostgres(folder / "postgres", folder / "keys")
        stack.callback(postgres.remove)
        stack.callback(postgres.stop)
        await asyncio.to_thread(postgres.start)
        await bootstrap(_settings(nats, folder, postgres.dsn), [])
        batches = [[write for n in range(TOGETHER) for write in _placement(n)] for _ in range(4)]
        until, done, asked = time.perf_counter() + LIMIT_S, 0, asyncio.Semaphore(0)

        async def ask(start: int) -> None:
            for number in count(start, SENDERS):
                if time.perf_counter() > until:
                    return
                vm_id, command_id = _vm(number), CommandId(random_id())
                subject = subjects.command(vm_id, command_id)
                write = a_write(subject, StartVm(vm_id=vm_id), event_id=command_id, operation=command_id)
                await commands.append([write], {subject: BEGINNING})
                asked.release()

        async def decide() -> None:
            nonlocal done
            while time.perf_counter() < until:
                for _ in range(TOGETHER):
                    await asked.acquire()
                writes = [Write(one.subject, random_id(), one.body) for one in batches[0]]
                first = writes[0].subject
                last = await events.load(first)
                await events.append(writes, {first: last.seq if last is not None else BEGINNING})
                done += TOGETHER

        async with asyncio.timeout(LIMIT_S * 2), asyncio.TaskGroup() as group:
            deciding = group.create_task(decide())
            for start in range(SENDERS):
                group.create_task(ask(start))
            await moment(until)
            deciding.cancel()
        return done / LIMIT_S


def _plain(dsn: str) -> str:
    """Give the address as the driver takes it."""
    return dsn.replace("+asyncpg", "")


def _vm(number: int) -> VmId:
    return VmId(UUID(int=0xB000_0000 + number))


def _host(number: int) -> HostId:
    return HostId(UUID(int=0xA000 + number))


def _known(number: int) -> Vm:
    return Vm(vm_id=_vm(number), spec=spec(f"vm-{number}", 1, 2048), desired=Desired.STOPPED)


def _created(number: int) -> Write:
    vm = _known(number)
    return a_write(subjects.vm_ctl(vm.vm_id), VmCreated(vm=vm))


def _placement(number: int) -> list[Write]:
    """Give what the start of a VM writes."""
    placement = Placement(host_id=_host(number), generation=Generation(1))
    vm = _known(number).model_copy(update={"desired": Desired.RUNNING, "placement": placement})
    vm = vm.model_copy(update={"running": vm.spec, "reserved": vm.spec.needs, "generation": Generation(1)})
    host = a_host(placement.host_id)
    placed = VmPlaced(vm=vm, placement=placement, considered=HOSTS, policy="balanced")
    reserved = HostReserved(host=host, vm_id=vm.vm_id, resources=vm.spec.needs)
    told = tell_host(vm, None)
    return [
        a_write(subjects.vm_ctl(vm.vm_id), placed),
        a_write(subjects.host_ctl(host.host_id), reserved),
        a_write(told.subject, told.event),
    ]
