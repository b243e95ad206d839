"""Run the API: `python -m services.api.main`."""

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from importlib.metadata import version

from events import subjects
from infra.eventlog.connection import closer, connect
from infra.eventlog.jetstream import JetStreamLog
from infra.eventlog.signals import NatsSignals
from infra.readmodel.engine import make_engine
from infra.readmodel.migrate import pending
from infra.readmodel.postgres import PostgresReadModel
from infra.runtime.backoff import persist
from infra.runtime.clock import SystemClock
from infra.runtime.errors import ConfigInvalid, Unavailable
from infra.runtime.health import Health
from infra.runtime.ids import random_id
from infra.runtime.log import configure_logging
from infra.runtime.service import Service, run_service
from infra.runtime.settings import EX_CONFIG, load
from services.api.app import make_app
from services.api.core.rights import Credentials, digest
from services.api.desk import Desk
from services.api.parts import Parts
from services.api.pulse import Pulse
from services.api.server import bind, serve
from services.api.settings import ApiSettings
from services.api.statistics import Statistics

NAME = "api"
WARM_S = 2.0
"""How long a start waits for answers that nobody needs."""
NATS, POSTGRES, MIGRATIONS = "NATS", "PostgreSQL", "migrations"


async def build(
    settings: ApiSettings,
    credentials: Credentials,
    listening: socket.socket,
    service: Service,
    stack: AsyncExitStack,
) -> None:
    """Connect, then serve. Who calls before that waits in the socket's queue."""
    clock = SystemClock()
    health = service.health
    client = await persist(
        health, NATS, lambda: connect(settings.nats_url, settings.nats_seed_file, NAME, service.fail)
    )
    stack.push_async_callback(closer(client))
    engine = make_engine(settings.postgres_dsn.get_secret_value(), NAME)
    stack.push_async_callback(engine.dispose)
    reads = PostgresReadModel(engine)
    signals = NatsSignals(client)
    pulse = Pulse(clock)
    await persist(health, NATS, lambda: signals.listen(subjects.HEARTBEATS, pulse.heard))
    statistics = Statistics(clock)
    await persist(health, NATS, lambda: signals.listen(subjects.STATISTICS, statistics.heard))

    async def migrated() -> None:
        if await pending(engine):
            raise Unavailable(MIGRATIONS, "the database lacks migrations of this release: run the bootstrap")

    await _warm(reads, migrated)
    events = JetStreamLog(client, "EVT", random_id)
    app = make_app(random_id, clock)
    app.openapi()  # written now and kept: at the first request it held up everybody's for 0.1 s (measured)
    app.state.parts = Parts(
        desk=Desk(
            commands=JetStreamLog(client, "CMD", random_id),
            events=events,
            signals=signals,
            reads=reads,
            now=clock.now,
        ),
        reads=reads,
        signals=signals,
        pulse=pulse,
        statistics=statistics,
        credentials=credentials,
        probes={
            NATS: events.last_seq,
            POSTGRES: lambda: reads.position("EVT"),
            MIGRATIONS: migrated,
        },
        new_id=random_id,
        version=version("roost"),
    )
    service.spawn("http", serve(app, listening, settings.api_tls_cert, settings.api_tls_key))


async def _warm(reads: PostgresReadModel, migrated: Callable[[], Awaitable[None]]) -> None:
    """Ask questions before anybody does: the first ones take driver and compiler tens of milliseconds each.

    That would hold up the loop for all who ask then. Without PostgreSQL they are the first ones' after all.
    """
    with suppress(Unavailable, TimeoutError):
        async with asyncio.timeout(WARM_S):
            await migrated()
            await reads.vms(limit=1)
            await reads.operations(limit=1)


def credentials_of(settings: ApiSettings) -> Credentials:
    """Read the admin's token; raises ConfigInvalid."""
    try:
        token = settings.admin_token_file.read_text().strip()
    except OSError as err:
        raise ConfigInvalid(f"setting ROOST_ADMIN_TOKEN_FILE: {err}") from err
    if not token:
        raise ConfigInvalid(f"setting ROOST_ADMIN_TOKEN_FILE: {settings.admin_token_file} is empty")
    return Credentials(digest(token))


def main() -> None:
    """Run until told to stop."""
    settings = load(ApiSettings)
    configure_logging(NAME, settings.log_level)
    try:
        credentials = credentials_of(settings)
        listening = bind(settings.api_host, settings.api_port)
    except ConfigInvalid as err:
        sys.stderr.write(f"error: {err}\nNothing was connected to and nothing was changed.\n")
        raise SystemExit(EX_CONFIG) from err
    run_service(
        NAME,
        lambda service, stack: build(settings, credentials, listening, service, stack),
        Health(NATS),
        settings.health_port,
    )


if __name__ == "__main__":
    main()
