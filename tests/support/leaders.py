"""Let leaders die and freeze under load, and see afterwards that everybody was told the truth."""

import asyncio
from collections.abc import Sequence
from enum import Enum

from infra.eventlog.connection import closer
from infra.eventlog.facts import JetStreamFactLog
from infra.eventlog.jetstream import JetStreamLog
from infra.runtime.ids import random_id
from tests.support.eventually import eventually
from tests.support.nats_cluster import NatsCluster, clients
from tests.support.stack import HOSTS
from tests.support.writers import Writers, whole_log

BETWEEN_FAULTS = 40
"""Appends that are acknowledged between two faults."""


class Blow(Enum):
    """What befalls a leader."""

    KILL = "kill -9, and start again on the same data"
    FREEZE = "stop answering with connections open, and go on"


async def live_through(cluster: NatsCluster, blows: Sequence[Blow], seed: int) -> Writers:
    """Form the cluster, deal the blows under load, check the log against what was told; give that."""
    async with clients(cluster) as at:
        hosts = [await cluster.client(f"host-{host}", node) for node, host in enumerate(HOSTS)]
        facts = {
            f"evt.vm.a.{host}": JetStreamFactLog(client) for host, client in zip(HOSTS, hosts, strict=True)
        }
        writers = Writers([JetStreamLog(client, "EVT", random_id) for client in at], facts)
        running = asyncio.gather(writers.run(seed))

        async def more() -> None:
            wanted = len(writers.acked) + BETWEEN_FAULTS
            await eventually(lambda: running.done() or len(writers.acked) >= wanted, "more appends")
            assert not running.done(), running.exception()

        for blow in blows:
            await more()
            leader = await cluster.leader(at[0])
            if blow is Blow.KILL:
                cluster.kill(leader)
                await more()
                cluster.start(leader)
            else:
                cluster.freeze(leader)
                await more()
                cluster.thaw(leader)
            await cluster.whole(at[0])
        writers.stop()
        await running
        writers.check(await whole_log(JetStreamLog(at[0], "EVT", random_id)))
        for client in hosts:
            await closer(client)()
    return writers
