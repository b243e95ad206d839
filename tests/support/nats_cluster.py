"""Three nats-servers that are one cluster: real processes on loopback, each with a disk of its own."""

import json
import shutil
import signal
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from events.ids import HostId
from infra.deploy.accounts import accounts, server_config
from infra.deploy.identities import SERVICES, ensure_identity, seed_file
from infra.deploy.streams import ensure_streams, streams
from infra.embedded.nats import READY_TIMEOUT_S, nats_server
from infra.embedded.process import Process, answers, free_port, start
from infra.eventlog.connection import connect
from infra.eventlog.jetstream import ApiError, ask
from infra.runtime.errors import Unavailable
from tests.support.eventually import eventually
from tests.support.stack import HOSTS

NODES = 3
GIB = 1024**3


class NatsCluster:
    """A cluster with the accounts that roost has; each node keeps its ports and its data through a kill."""

    def __init__(self, folder: Path, hosts: Sequence[HostId] = HOSTS) -> None:
        self.keys = folder / "keys"
        services = {name: ensure_identity(self.keys, name) for name in SERVICES}
        keys = {host: ensure_identity(self.keys, f"host-{host}") for host in hosts}
        self._accounts = accounts(services, keys)
        self._folder = folder
        self.ports = [free_port() for _ in range(NODES)]
        self._routes = [free_port() for _ in range(NODES)]
        self._nodes: dict[str, Process] = {}

    @property
    def names(self) -> Sequence[str]:
        return [f"n{number}" for number in range(NODES)]

    @property
    def url(self) -> str:
        """Any of them."""
        return ",".join(f"nats://127.0.0.1:{port}" for port in self.ports)

    def start(self, name: str) -> None:
        """Start one node; it may have to find the others before it serves."""
        number = self.names.index(name)
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        port = self.ports[number]
        config = json.loads(server_config(port, str(folder / "jetstream"), self._accounts)) | {
            "server_name": name,
            "cluster": {
                "name": "roost",
                "listen": f"127.0.0.1:{self._routes[number]}",
                "routes": [f"nats://127.0.0.1:{route}" for route in self._routes],
                "no_advertise": True,  # clients stay on the addresses that they were given
            },
        }
        (folder / "nats.conf").write_text(json.dumps(config))
        self._nodes[name] = start(
            name, [nats_server(), "-c", str(folder / "nats.conf")], log=folder / "nats.log"
        )
        self._nodes[name].wait_until(lambda: answers(port), READY_TIMEOUT_S)

    def kill(self, name: str) -> None:
        """Kill -9."""
        self._nodes[name].kill()

    def freeze(self, name: str) -> None:
        """Let it do nothing and answer nothing, with its connections open."""
        self._nodes[name].popen.send_signal(signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        """Let it go on."""
        self._nodes[name].popen.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End every node."""
        for node in self._nodes.values():
            node.kill()

    async def client(self, name: str = "bootstrap", ports: Sequence[int] = ()) -> Client:
        """Connect as *name* to any node, or by way of *ports*."""
        urls = [f"nats://127.0.0.1:{port}" for port in ports or self.ports]
        return await connect(",".join(urls), seed_file(self.keys, name), name, lambda _: None)

    async def form(self) -> Client:
        """Start all, wait until they are one cluster, make the streams on all three; give a client."""
        for name in self.names:
            self.start(name)
        client = await self.client()

        async def made() -> bool:
            try:
                await ensure_streams(client, streams(GIB, GIB, NODES))
            except (ApiError, Unavailable):
                return False  # The nodes have not found each other yet.
            return True

        await eventually(made, "the streams on three nodes")
        await self.whole(client)
        return client

    async def leader(self, client: Client) -> str:
        """Wait until EVT has a leader; give its name."""
        found: list[str] = []

        async def led() -> bool:
            found.extend(filter(None, [(await self._placed(client)).get("leader")]))
            return bool(found)

        await eventually(led, "a leader of EVT")
        return found[-1]

    async def whole(self, client: Client) -> None:
        """Wait until EVT's replicas are all there and current."""

        async def current() -> bool:
            placed = await self._placed(client)
            others = placed.get("replicas", [])
            return bool(placed.get("leader")) and [one["current"] for one in others] == [True] * (NODES - 1)

        await eventually(current, "three current replicas of EVT")

    async def _placed(self, client: Client) -> dict[str, Any]:
        try:
            placed: dict[str, Any] = (await ask(client, "$JS.API.STREAM.INFO.EVT", {}))["cluster"]
        except (ApiError, Unavailable):
            return {}
        return placed


@pytest.fixture
def nats_cluster() -> Iterator[NatsCluster]:
    folder = Path(tempfile.mkdtemp(prefix="roost-test-"))
    cluster = NatsCluster(folder)
    yield cluster
    cluster.stop()
    shutil.rmtree(folder)
