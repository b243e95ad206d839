"""Real servers for tests: one nats-server and one PostgreSQL a test run, cleaned between tests."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from events.ids import HostId
from infra.deploy.identities import ensure_identity
from infra.embedded.nats import EmbeddedNats

HOSTS = tuple(HostId(UUID(int=0x7000_8000_0000_0000_0000 + n)) for n in range(1, 4))


class NatsServer:
    """A running nats-server whose streams each test makes for itself."""

    def __init__(self, folder: Path) -> None:
        self.keys = folder / "keys"
        self.folder = folder
        self.server = EmbeddedNats(folder / "nats", self.keys)
        hosts = {host: ensure_identity(self.keys, f"host-{host}") for host in HOSTS}
        self.hosts = hosts
        self.server.start(hosts)

    @property
    def url(self) -> str:
        return self.server.url

    def restart(self) -> None:
        """Kill -9 and start again on the same data and port."""
        assert self.server.process is not None
        self.server.process.kill()
        self.server.start(self.hosts)


@pytest.fixture
def nats_server() -> Iterator[NatsServer]:
    folder = Path(tempfile.mkdtemp(prefix="roost-test-"))
    server = NatsServer(folder)
    yield server
    server.server.stop()
    shutil.rmtree(folder)
