"""Let leaders die and freeze under load, and see afterwards that everybody was told the truth."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from enum import Enum

from nats.aio.client import Client

from infra.eventlog.connection import closer
from infra.eventlog.facts import JetStreamFactLog
from infra.eventlog.jetstream import JetStreamLog
from infra.eventlog.port import EventLog
from infra.runtime.ids import random_id
from tests.support.eventually import eventually
from tests.support.nats_cluster import NODES, NatsCluster
from tests.support.proxy import Line, line
from tests.support.stack import HOSTS
from tests.support.writers import Writers, insist, whole_log

BETWEEN_BLOWS = 100
"""Appends that are acknowledged between two blows."""

ROUND_TRIPS = 3


class Blow(Enum):
    """What befalls a leader; each time what it stored last was not answered."""

    KILL = "kill -9, and start again on the same data"
    FREEZE = "stop answering with connections open, and go on"


async def live_through(cluster: NatsCluster, blows: Sequence[Blow], seed: int) -> Writers:
    """Form the cluster, deal the blows under load, check the log against what was told; give that."""
    async with AsyncExitStack() as stack:
        watcher = await stack.enter_async_context(closing(await cluster.form()))
        lines = [await stack.enter_async_context(line(port)) for port in cluster.ports]
        ports = [one.port for one in lines]

        async def client(name: str) -> Client:
            return await stack.enter_async_context(closing(await cluster.client(name, ports)))

        logs = [JetStreamLog(await client("bootstrap"), "EVT", random_id) for _ in range(NODES)]
        facts = {f"evt.vm.a.{host}": JetStreamFactLog(await client(f"host-{host}")) for host in HOSTS}
        direct = JetStreamLog(watcher, "EVT", random_id)
        writers = Writers(logs, facts)
        running = asyncio.gather(writers.run(seed))

        async def more() -> None:
            wanted = len(writers.acked) + BETWEEN_BLOWS
            await eventually(lambda: running.done() or len(writers.acked) >= wanted, "more appends")
            assert not running.done(), running.exception()

        for blow in blows:
            await more()
            leader = await cluster.leader(watcher)
            await leave_in_doubt(lines, direct)
            cluster.kill(leader) if blow is Blow.KILL else cluster.freeze(leader)
            for one in lines:
                one.cut()
            await more()
            cluster.start(leader) if blow is Blow.KILL else cluster.thaw(leader)
            await cluster.whole(watcher)
        writers.stop()
        await running
        writers.check(await whole_log(direct))
    return writers


async def leave_in_doubt(lines: Sequence[Line], direct: EventLog) -> None:
    """Keep back answers until what is on its way has been stored: nobody is told of it."""
    for one in lines:
        one.answers.close()
    for _ in range(ROUND_TRIPS):
        await insist(direct.last_seq)


@asynccontextmanager
async def closing(client: Client) -> AsyncIterator[Client]:
    """Give the client, and disconnect it afterwards."""
    try:
        yield client
    finally:
        await closer(client)()
