"""Three nodes whose leader is killed and frozen: somebody has the lease again, and never two at once."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest
from nats.aio.client import Client

from events import subjects
from infra.deploy.identities import seed_file
from infra.eventlog.connection import closer, connect
from infra.eventlog.jetstream import ApiError, ask
from infra.leases.jetstream import PING_INTERVAL_S, JetStreamLeases
from infra.leases.service import ServiceLease
from infra.runtime.clock import SystemClock
from infra.runtime.errors import Unavailable
from infra.runtime.ids import random_id
from infra.runtime.service import background
from tests.support.eventually import eventually
from tests.support.leaders import closing
from tests.support.nats_cluster import NatsCluster

PACE_S = 0.1
LEASE = subjects.service_lease("scheduler")


@dataclass
class Rivals:
    """Several that want one lease, each over a connection of its own."""

    leases: list[ServiceLease] = field(default_factory=list)
    never: asyncio.Event = field(default_factory=asyncio.Event)
    held_by_two: int = 0

    def holders(self) -> list[ServiceLease]:
        return [lease for lease in self.leases if lease.held]

    async def live(self, lease: ServiceLease) -> None:
        """Have it whenever it can be had, for ever."""
        while True:
            try:
                await (lease.renew() if lease.held else lease.take())
            except Unavailable:
                pass  # The next try tells.
            self.held_by_two += len(self.holders()) > 1
            try:
                async with asyncio.timeout(PACE_S):
                    await self.never.wait()
            except TimeoutError:
                continue


@asynccontextmanager
async def rivals(cluster: NatsCluster) -> AsyncIterator[Rivals]:
    urls = ",".join(f"nats://127.0.0.1:{port}" for port in cluster.ports)
    seed = seed_file(cluster.keys, "scheduler")
    found = Rivals()
    async with AsyncExitStack() as stack:
        for place in ("one", "two", "three"):
            client = await connect(urls, seed, "scheduler", lambda _: None, ping_interval_s=PING_INTERVAL_S)
            stack.push_async_callback(closer(client))
            leases = JetStreamLeases(client, random_id)
            found.leases.append(
                ServiceLease(leases, LEASE, holder=place, new_id=random_id, clock=SystemClock())
            )
        for lease in found.leases:
            await stack.enter_async_context(background(found.live(lease)))
        yield found


async def leader(client: Client) -> str:
    """Wait until LEASE has a leader; give its name."""
    found: list[str] = []

    async def led() -> bool:
        try:
            placed = (await ask(client, "$JS.API.STREAM.INFO.LEASE", {}))["cluster"]
        except (ApiError, Unavailable):
            return False
        found.extend(filter(None, [placed.get("leader")]))
        return bool(found)

    await eventually(led, "a leader of LEASE")
    return found[-1]


# nats-py drops the stream of a connection that breaks during the handshake without closing it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("blow", ["kill", "freeze"])
async def test_a_leader_goes_and_the_lease_is_held_again_by_one(nats_cluster: NatsCluster, blow: str) -> None:
    mend: dict[str, Callable[[str], None]] = {"kill": nats_cluster.start, "freeze": nats_cluster.thaw}
    async with closing(await nats_cluster.form()) as client, rivals(nats_cluster) as all_three:
        await eventually(lambda: len(all_three.holders()) == 1, "one has the lease")
        struck = await leader(client)
        getattr(nats_cluster, blow)(struck)
        await eventually(lambda: not all_three.holders(), "the term is over, as nobody acknowledges")
        await eventually(lambda: len(all_three.holders()) == 1, "one has the lease again")
        mend[blow](struck)
        await nats_cluster.whole(client)
        await eventually(lambda: len(all_three.holders()) == 1, "one has the lease")
        assert all_three.held_by_two == 0
