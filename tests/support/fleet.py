"""Streams and consumers of a real NATS for simulated hosts, and what the control plane would say to them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from nats.aio.client import Client

from events import subjects
from events.codec import Undecodable, decode
from events.desired import DesiredVm
from events.envelope import Message
from events.events import VmDesired
from events.ids import HostId, Seq, simulated_host_id
from infra.deploy.accounts import COMMAND_CONSUMER
from infra.deploy.identities import ensure_identity, seed_file
from infra.deploy.streams import ensure_command_consumer, ensure_host_consumer, ensure_streams, streams
from infra.eventlog.connection import closer, connect
from infra.eventlog.jetstream import JetStreamLog, ask
from infra.runtime.errors import Unavailable
from infra.runtime.ids import random_id
from tests.support.builders import a_write
from tests.support.process import running_service
from tests.support.stack import NatsServer

GIB = 1024**3
WAIT_S = 20.0
ACK_WAIT_NS = 2 * 10**9


@dataclass
class Fleet:
    """Simulated hosts' side of an installation."""

    nats: NatsServer
    client: Client
    events: JetStreamLog
    commands: JetStreamLog
    hosts: Sequence[HostId]
    state: Path

    @asynccontextmanager
    async def hostd(
        self, *, health_port: int | None = None, small_disk: bool = False
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run the daemon of all hosts; the first one's journal on a *small_disk* of the process's own."""
        settings = self.hostd_settings()
        if health_port is not None:
            settings |= {"ROOST_HEALTH_PORT": str(health_port)}
        command = ["services.hostd.main", "--simulate", str(len(self.hosts))]
        if small_disk:
            command = ["tests.support.small_disk", str(self.state / "sim-1"), *command]
        async with running_service(
            command[0], *command[1:], settings=settings, said=self.state / "hostd.log"
        ) as process:
            yield process

    def hostd_settings(self) -> dict[str, str]:
        """What the daemon of all hosts is told."""
        return self.settings(f"host-{self.hosts[0]}") | {
            "ROOST_STATE_DIR": str(self.state),
            "ROOST_IMAGE_DIR": str(self.state / "images"),
        }

    @asynccontextmanager
    async def scheduler(self, replica: str = "one") -> AsyncIterator[asyncio.subprocess.Process]:
        """Run a scheduler."""
        settings, said = self.settings("scheduler"), self.state / f"scheduler-{replica}.log"
        settings |= {"ROOST_REPLICA": replica}
        async with running_service("services.scheduler.main", settings=settings, said=said) as process:
            yield process

    def settings(self, identity: str) -> dict[str, str]:
        """What any process is told."""
        return {
            "ROOST_NATS_URL": self.nats.url,
            "ROOST_NATS_SEED_FILE": str(seed_file(self.nats.keys, identity)),
        }

    async def desire(self, entry: DesiredVm) -> None:
        """Tell the first host what to run, as the scheduler would."""
        subject = subjects.host_desired(self.hosts[0])
        await self.events.append([a_write(subject, VmDesired(entry=entry))], {})

    async def facts(self, pattern: str, until: Callable[[list[Message]], bool]) -> list[Message]:
        """Follow *pattern* from the beginning until what was said satisfies *until*; give all of it."""
        follower, found = self.events.follow(Seq(0), [pattern]), list[Message]()
        async with asyncio.timeout(WAIT_S):
            while not until(found):
                try:
                    found += [read(one.body) for one in await follower.next(100, 1.0)]
                except Unavailable:
                    continue  # The server is away for a while in some tests.
        await follower.close()
        return found


async def make_command_consumer(client: Client) -> None:
    """Make it with a short patience: what a killed scheduler had taken comes again within a test's time."""
    await ensure_command_consumer(client)
    found = (await ask(client, f"$JS.API.CONSUMER.INFO.CMD.{COMMAND_CONSUMER}", {}))["config"]
    body = {"stream_name": "CMD", "config": found | {"ack_wait": ACK_WAIT_NS}}
    await ask(client, f"$JS.API.CONSUMER.DURABLE.CREATE.CMD.{COMMAND_CONSUMER}", body)


def read(body: bytes) -> Message:
    """Read one event that must be readable."""
    try:
        return decode(body)[1]
    except Undecodable as err:
        raise AssertionError(f"a host published what nobody can read: {err}") from err


@asynccontextmanager
async def a_fleet(nats: NatsServer, state: Path, hosts: int) -> AsyncIterator[Fleet]:
    """Make streams, consumers and identities for so many simulated hosts."""
    ids = [simulated_host_id(number) for number in range(1, hosts + 1)]
    nats.hosts |= {host: ensure_identity(nats.keys, f"host-{host}") for host in ids}
    nats.restart()
    async with AsyncExitStack() as stack:
        seed = seed_file(nats.keys, "bootstrap")
        client = await connect(nats.url, seed, "bootstrap", lambda _: None)
        stack.push_async_callback(closer(client))
        await ensure_streams(client, streams(GIB, GIB, 1))
        await make_command_consumer(client)
        for host in ids:
            await ensure_host_consumer(client, host)
        logs = [JetStreamLog(client, name, random_id) for name in ("EVT", "CMD")]
        yield Fleet(nats, client, logs[0], logs[1], ids, state)
