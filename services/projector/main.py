"""Put a projector together and run it: `python -m services.projector.main`."""

from contextlib import AsyncExitStack

from events import subjects
from infra.eventlog.connection import closer, connect
from infra.eventlog.jetstream import JetStreamLog
from infra.eventlog.signals import NatsSignals
from infra.readmodel.engine import make_engine
from infra.readmodel.migrate import pending
from infra.readmodel.writer import PostgresProjectionStore
from infra.runtime.backoff import persist
from infra.runtime.errors import Unavailable
from infra.runtime.health import Health
from infra.runtime.ids import random_id
from infra.runtime.log import configure_logging
from infra.runtime.service import Service, run_service
from infra.runtime.settings import load
from services.projector.handler import LOG_PART, ROWS_PART, Projector, Source
from services.projector.settings import ProjectorSettings

NAME = "projector"


def main() -> None:
    """Read settings, connect, project until told to stop."""
    settings = load(ProjectorSettings)
    configure_logging(NAME, settings.log_level)
    health = Health(LOG_PART, ROWS_PART)

    async def build(service: Service, stack: AsyncExitStack) -> None:
        engine = make_engine(settings.postgres_dsn.get_secret_value(), NAME)
        stack.push_async_callback(engine.dispose)

        async def has_its_tables() -> None:
            if await pending(engine):
                raise Unavailable(ROWS_PART, "no tables; `python -m infra.deploy.bootstrap` makes them")

        await persist(health, ROWS_PART, has_its_tables)
        client = await persist(
            health,
            LOG_PART,
            lambda: connect(settings.nats_url, settings.nats_seed_file, NAME, service.fail),
        )
        stack.push_async_callback(closer(client))
        store = PostgresProjectionStore(engine)
        stack.push_async_callback(store.release)
        dead, signals = JetStreamLog(client, "DEAD", random_id), NatsSignals(client)
        projector = Projector(store=store, dead=dead, signals=signals, health=health)
        evt, cmd = (JetStreamLog(client, stream, random_id) for stream in ("EVT", "CMD"))
        service.spawn("evt", projector.run(Source("EVT", subjects.EVT_ALL, evt, keep=True)))
        service.spawn("cmd", projector.run(Source("CMD", subjects.CMD_ALL, cmd, keep=False)))

    run_service(NAME, build, health, settings.health_port)


if __name__ == "__main__":
    main()
