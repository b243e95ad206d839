"""NATS and PostgreSQL that run already, somewhere: used, emptied of what the tests made, never ended."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from nats.aio.client import Client

from events.ids import HostId
from infra.deploy.identities import seed_file
from infra.eventlog.connection import closer, connect
from infra.eventlog.jetstream import ask
from tests.support.backends import BackendUnfit, Killable

NAMES = "$JS.API.STREAM.NAMES"
DELETE = "$JS.API.STREAM.DELETE.{}"


def not_ours(where: str) -> BackendUnfit:
    """Say why a server cannot be killed."""
    return BackendUnfit(
        f"this test kills its server or changes its accounts, and the one at {where} is not ours to end: "
        "run it with ROOST_TEST_BACKEND=local or docker"
    )


class AddressNats:
    """A nats-server at *url* that holds no stream and knows the services by the seeds in *keys*."""

    def __init__(self, url: str, keys: Path) -> None:
        self.url = url
        self._seed = seed_file(keys, "bootstrap")

    @property
    def process(self) -> Killable | None:
        """Refuse: nobody here started it."""
        raise not_ours(self.url)

    def start(self, hosts: Mapping[HostId, str]) -> None:  # noqa: ARG002 - it knows whom it knows
        """See that it is there and empty: what it holds may be dear to someone."""
        found = ", ".join(sorted(self._streams(remove=False)))
        if found:
            raise BackendUnfit(
                f"the server at {self.url} holds the streams {found}, and tests remove what they find: "
                "give them a server of their own, or remove those streams"
            )

    def stop(self) -> None:
        """Remove what the test made."""
        self._streams(remove=True)

    def _streams(self, *, remove: bool) -> list[str]:
        """List the streams; in a thread, because a test's own loop may be running here."""

        async def look() -> list[str]:
            client: Client = await connect(self.url, self._seed, "bootstrap", lambda _: None)
            try:
                names: list[str] = (await ask(client, NAMES, {})).get("streams") or []
                if remove:
                    for name in names:
                        await ask(client, DELETE.format(name), {})
                return names
            finally:
                await closer(client)()

        with ThreadPoolExecutor(1) as threads:
            return threads.submit(asyncio.run, look()).result()


class AddressPostgres:
    """A PostgreSQL at *dsn*; the database in it is where others are made from."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn

    @property
    def process(self) -> Killable | None:
        """Refuse: nobody here started it."""
        raise not_ours(self.dsn.rpartition("@")[2])

    def start(self) -> None:
        """Leave it as it is: who connects sees whether it is there."""

    def remove(self) -> None:
        """Leave it as it is; the next run drops what this one made."""
