"""Put a scheduler together and run it: `python -m services.scheduler.main`."""

from contextlib import AsyncExitStack

from events import subjects
from infra.eventlog.connection import closer, connect
from infra.eventlog.consumer import JetStreamConsumer
from infra.eventlog.jetstream import JetStreamLog
from infra.eventlog.signals import NatsSignals
from infra.leases.jetstream import PING_INTERVAL_S, JetStreamLeases
from infra.leases.service import ServiceLease
from infra.runtime.backoff import persist
from infra.runtime.clock import SystemClock
from infra.runtime.health import Health
from infra.runtime.ids import random_id
from infra.runtime.log import configure_logging
from infra.runtime.service import Service, run_service
from infra.runtime.settings import load
from services.scheduler.core.world import World
from services.scheduler.handler import Scheduler
from services.scheduler.memory import Memory
from services.scheduler.settings import SchedulerSettings
from services.scheduler.settling import PART
from services.scheduler.tenure import LEASE_PART, Commands, Tenure

NAME = "scheduler"


def main() -> None:
    """Read settings, connect, serve until told to stop."""
    settings = load(SchedulerSettings)
    configure_logging(NAME, settings.log_level)
    health = Health(PART, LEASE_PART)

    async def build(service: Service, stack: AsyncExitStack) -> None:
        client = await persist(
            health,
            PART,
            lambda: connect(settings.nats_url, settings.nats_seed_file, NAME, service.fail),
        )
        stack.push_async_callback(closer(client))
        clock, log = SystemClock(), JetStreamLog(client, "EVT", random_id)
        world = World(
            failures_tolerated=settings.host_failures_tolerated, admission=settings.failover_admission
        )
        memory = Memory(log, JetStreamLog(client, "CMD", random_id), clock, settings.policy, world)
        await persist(health, PART, lambda: NatsSignals(client).listen(subjects.HEARTBEATS, memory.heard))
        commands = Commands(JetStreamConsumer(client, "CMD", NAME))
        scheduler = Scheduler(
            log=log,
            commands=commands,
            memory=memory,
            settings=settings,
            clock=clock,
            new_id=random_id,
            health=health,
        )
        lease = await _lease(settings, health, service, stack)
        follower = await scheduler.start()
        service.spawn("follow", scheduler.follow(follower))
        tenure = Tenure(scheduler=scheduler, commands=commands, lease=lease, health=health)
        service.spawn("tenure", tenure.live())

    run_service(NAME, build, health, settings.health_port)


async def _lease(
    settings: SchedulerSettings, health: Health, service: Service, stack: AsyncExitStack
) -> ServiceLease:
    """Give the lease of the active scheduler, over a connection of its own."""
    url, seed = settings.nats_url, settings.nats_seed_file
    client = await persist(
        health,
        LEASE_PART,
        lambda: connect(url, seed, NAME, service.fail, ping_interval_s=PING_INTERVAL_S),
    )
    stack.push_async_callback(closer(client))
    leases = JetStreamLeases(client, random_id)
    subject = subjects.service_lease(NAME)
    return ServiceLease(leases, subject, holder=settings.replica, new_id=random_id, clock=SystemClock())


if __name__ == "__main__":
    main()
