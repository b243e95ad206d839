"""Put a scheduler together and run it: `python -m services.scheduler.main`."""

from contextlib import AsyncExitStack

from events import subjects
from infra.eventlog.connection import closer, connect
from infra.eventlog.consumer import JetStreamConsumer
from infra.eventlog.jetstream import JetStreamLog
from infra.eventlog.signals import NatsSignals
from infra.runtime.backoff import persist
from infra.runtime.clock import SystemClock
from infra.runtime.health import Health
from infra.runtime.ids import random_id
from infra.runtime.log import configure_logging
from infra.runtime.service import Service, run_service
from infra.runtime.settings import load
from services.scheduler.handler import Scheduler
from services.scheduler.memory import Memory
from services.scheduler.settings import SchedulerSettings
from services.scheduler.settling import PART

NAME = "scheduler"


def main() -> None:
    """Read settings, connect, serve until told to stop."""
    settings = load(SchedulerSettings)
    configure_logging(NAME, settings.log_level)
    health = Health(PART)

    async def build(service: Service, stack: AsyncExitStack) -> None:
        client = await persist(
            health,
            PART,
            lambda: connect(settings.nats_url, settings.nats_seed_file, NAME, service.fail),
        )
        stack.push_async_callback(closer(client))
        clock, log = SystemClock(), JetStreamLog(client, "EVT", random_id)
        memory = Memory(log, JetStreamLog(client, "CMD", random_id), clock, settings.policy)
        await persist(health, PART, lambda: NatsSignals(client).listen(subjects.HEARTBEATS, memory.heard))
        commands = JetStreamConsumer(client, "CMD", NAME)
        scheduler = Scheduler(
            log=log,
            commands=commands,
            memory=memory,
            settings=settings,
            clock=clock,
            new_id=random_id,
            health=health,
        )
        follower = await scheduler.start()
        service.spawn("follow", scheduler.follow(follower))
        service.spawn("serve", scheduler.serve())

    run_service(NAME, build, health, settings.health_port)


if __name__ == "__main__":
    main()
