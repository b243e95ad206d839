"""Statistics from a host's own connection through a real NATS to what the API process shows."""

from events import subjects
from events.ids import Generation, VmId
from events.statistics import HostMemory, HostStatistics, VmStatistics, messages
from infra.deploy.identities import seed_file
from infra.eventlog.connection import closer, connect
from infra.eventlog.signals import NatsSignals
from infra.runtime.clock import SystemClock
from infra.runtime.ids import random_id
from tests.integration.api.test_api import World, world
from tests.support.eventually import eventually
from tests.support.stack import NatsServer

__all__ = ["world"]
HEARD_S = 20.0
PART_BYTES = 1000
VMS = 20


async def test_what_a_host_tells_in_parts_is_scraped_whole(world: World, nats_server: NatsServer) -> None:
    host = min(nats_server.hosts)
    memory = HostMemory(
        total_kib=8, free_kib=1, available_kib=4, cached_kib=1, swap_total_kib=0, swap_free_kib=0
    )
    vms = tuple(
        VmStatistics(vm_id=VmId(random_id()), generation=Generation(1), vcpus=1, cpu_seconds=1.5)
        for _ in range(VMS)
    )
    told = HostStatistics(
        host_id=host, at=SystemClock().now(), interval_s=10, memory=memory, load=(1, 1, 1), vms=vms
    )
    bodies = list(messages(told, PART_BYTES))
    assert len(bodies) > 1
    seed = seed_file(nats_server.keys, f"host-{host}")
    client = await connect(nats_server.url, seed, f"host-{host}", lambda _: None)
    signals = NatsSignals(client)

    async def scraped() -> bool:
        for body in bodies:
            await signals.send(subjects.statistics(host), body)
        text = (await world.http.get("/metrics")).text
        return text.count("\nroost_vm_cpu_seconds_total{") == VMS

    await eventually(scraped, "the figures of all VMs are in /metrics", HEARD_S)
    text = (await world.http.get("/metrics")).text
    assert f'\nroost_host_memory_available_bytes{{host="host_{host}"}} 4096.0\n' in text
    assert "\nroost_api_process_resident_memory_bytes " in text
    await closer(client)()
