"""Make streams, consumers and the database schema: `python -m infra.deploy.bootstrap`. Safe to repeat."""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from uuid import UUID

from pydantic import Field

from events.ids import HostId
from infra.deploy.streams import (
    Narrowing,
    ensure_command_consumer,
    ensure_host_consumer,
    ensure_streams,
    streams,
)
from infra.eventlog.connection import closer, connect
from infra.eventlog.jetstream import ApiError
from infra.readmodel.migrate import upgrade
from infra.runtime.errors import Unavailable
from infra.runtime.settings import NatsSettings, PostgresSettings, load

NAME = "bootstrap"
GIB = 1024**3


class BootstrapSettings(NatsSettings, PostgresSettings):
    """Each is read from `ROOST_` and the name in capitals."""

    evt_max_bytes: int = Field(default=8 * GIB, ge=64 * 1024)
    cmd_max_bytes: int = Field(default=GIB, ge=64 * 1024)
    replicas: int = Field(default=1, ge=1, le=5)


async def bootstrap(settings: BootstrapSettings, hosts: Sequence[HostId]) -> None:
    """Bring NATS and PostgreSQL to what this release needs, and enrol *hosts*.

    Raises Unavailable, Narrowing, ApiError; what was done until then is done, and repeating goes on.
    """
    client = await connect(settings.nats_url, settings.nats_seed_file, NAME, lambda _: None)
    try:
        wanted = streams(settings.evt_max_bytes, settings.cmd_max_bytes, settings.replicas)
        await ensure_streams(client, wanted)
        await ensure_command_consumer(client)
        for host_id in hosts:
            await ensure_host_consumer(client, host_id)
    finally:
        await closer(client)()
    await upgrade(settings.postgres_dsn.get_secret_value())


def main() -> None:
    """Run once and say what could not be done."""
    parser = argparse.ArgumentParser(prog="python -m infra.deploy.bootstrap", description=main.__doc__)
    parser.add_argument(
        "--host", type=UUID, action="append", default=[], metavar="ID", help="enrol this host"
    )
    hosts = [HostId(host) for host in parser.parse_args().host]
    settings = load(BootstrapSettings)
    try:
        asyncio.run(bootstrap(settings, hosts))
    except (Unavailable, Narrowing, ApiError) as err:
        sys.exit(
            f"error: bootstrap: {err}\ntry:   mend that and run the same command again; it is repeatable"
        )


if __name__ == "__main__":
    main()
