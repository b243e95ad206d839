"""Where a test run's servers come from, and a real nats-server for each test."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest

from events.ids import HostId
from infra.deploy.identities import ensure_identity
from infra.embedded.nats import EmbeddedNats
from tests.support.backends import Address, BackendUnfit, Binaries, Engine, Image, NatsBackend, Source, choose
from tests.support.backends_address import AddressNats
from tests.support.backends_docker import DockerNats, find_engine
from tests.support.settings import Backend, BackendSettings

HOSTS = tuple(HostId(UUID(int=0x7000_8000_0000_0000_0000 + n)) for n in range(1, 4))


@dataclass(frozen=True)
class Sources:
    """Where the servers of this run come from."""

    nats: Source
    nats_keys: Path | None
    postgres: Source


@pytest.fixture(scope="session")
def sources() -> Sources:
    told = BackendSettings()
    engine = Engine() if told.test_backend is Backend.LOCAL else find_engine()
    nats = choose(
        address=told.test_nats_url, image=told.test_nats_image, forced=told.test_backend, engine=engine
    )
    postgres = choose(
        address=told.test_postgres_dsn,
        image=told.test_postgres_image,
        forced=told.test_backend,
        engine=engine,
    )
    return Sources(nats, told.test_nats_keys, postgres)


def nats_backend(sources: Sources, folder: Path) -> tuple[NatsBackend, Path]:
    """Make the server, not yet started, and say where the identities lie that it knows."""
    keys = folder / "keys"
    match sources.nats:
        case Address(url):
            if sources.nats_keys is None:
                raise BackendUnfit(f"ROOST_TEST_NATS_KEYS must name the folder of the seeds that {url} knows")
            return AddressNats(url, sources.nats_keys), sources.nats_keys
        case Image(name):
            return DockerNats(name, keys), keys
        case Binaries():
            return EmbeddedNats(folder / "nats", keys), keys


class NatsServer:
    """A running nats-server whose streams each test makes for itself; identities lie in *keys*."""

    def __init__(self, server: NatsBackend, keys: Path) -> None:
        self.keys = keys
        self.server = server
        self.hosts = {host: ensure_identity(keys, f"host-{host}") for host in HOSTS}
        self.server.start(self.hosts)

    @property
    def url(self) -> str:
        return self.server.url

    def restart(self) -> None:
        """Kill -9 and start again on the same data and port."""
        assert self.server.process is not None
        self.server.process.kill()
        self.server.start(self.hosts)


@pytest.fixture
def new_nats_server(sources: Sources) -> Iterator[Callable[[], NatsServer]]:
    """Start as many as are asked for; they end with the test."""
    with ExitStack() as stop:

        def start() -> NatsServer:
            folder = Path(stop.enter_context(tempfile.TemporaryDirectory(prefix="roost-test-")))
            server = NatsServer(*nats_backend(sources, folder))
            stop.callback(server.server.stop)
            return server

        yield start


@pytest.fixture
def nats_server(new_nats_server: Callable[[], NatsServer]) -> NatsServer:
    return new_nats_server()
