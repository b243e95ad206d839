"""NATS and PostgreSQL in containers: of images that the engine has, on the machine's own loopback.

Official images do, and so do those of `make test-docker`, which hold no shell: whether a server is ready is
seen by connecting to it, never by a command inside.
"""

import socket
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

from docker.errors import DockerException
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.docker_client import DockerClient, get_docker_host
from testcontainers.core.wait_strategies import WaitStrategy, WaitStrategyTarget

from events.ids import HostId
from infra.deploy.accounts import accounts, server_config
from infra.deploy.identities import SERVICES, ensure_identity
from infra.embedded.process import answers, free_port
from infra.runtime.errors import Unavailable
from tests.support.backends import POSTGRES_OPTIONS, Engine
from tests.support.slow_callbacks import excused

UNIX = "unix://"
DEFAULT_ENGINE = f"{UNIX}/var/run/docker.sock"
ENGINE_TIMEOUT_S = 10
READY_TIMEOUT_S = 60
POLL_S = 0.02
KILL_TIMEOUT_S = 10
NATS_CONFIG = "/roost-nats.conf"
USER = PASSWORD = DATABASE = "roost"
"""Of a throw-away server on loopback; the image of `make test-docker` was made with the same."""
PROTOCOL = 3 << 16
"""Version 3.0 of PostgreSQL's frontend/backend protocol, as its StartupMessage says it."""


def find_engine() -> Engine:
    """Ask the engine that DOCKER_HOST names, or the one on this machine, for its images."""
    where = get_docker_host() or DEFAULT_ENGINE
    if where.startswith(UNIX) and not _listens(where.removeprefix(UNIX)):
        return Engine(refusal=f"no Docker engine answers at {where}")
    try:
        client = DockerClient(timeout=ENGINE_TIMEOUT_S).client
    except DockerException as err:
        return Engine(refusal=f"no Docker engine answers at {where} ({err})")
    try:
        images = frozenset(tag for image in client.images.list() for tag in image.tags)
    finally:
        client.close()
    # Ryuk removes what a killed test run leaves. Where its image is not there, it would be pulled.
    testcontainers_config.ryuk_disabled = testcontainers_config.ryuk_image not in images
    return Engine(images)


def _listens(path: str) -> bool:
    """Tell whether someone accepts connections there; Docker's library leaks a socket where nobody does."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


class Answers(WaitStrategy):
    """Ready once *ask* says so; an end before that is told with the server's own words."""

    def __init__(self, ask: Callable[[], bool]) -> None:
        super().__init__()
        self._ask = ask
        self.with_startup_timeout(READY_TIMEOUT_S).with_poll_interval(POLL_S)

    def wait_until_ready(self, container: WaitStrategyTarget) -> None:
        """Wait; raises Unavailable."""
        if not self._poll(lambda: self._ask() or self._ended(container)) or self._ended(container):
            said = b"".join(container.get_logs()).decode(errors="replace")
            raise Unavailable(
                "a container", f"{container.status}, not ready within {READY_TIMEOUT_S} s:\n{said}"
            )

    @staticmethod
    def _ended(container: WaitStrategyTarget) -> bool:
        container.reload()
        return container.status == "exited"


class Contained:
    """A server in a container, which keeps its data from start to start until it is removed."""

    def __init__(self, container: DockerContainer, ask: Callable[[], bool]) -> None:
        # The machine's own network: one address and port before and after a kill, and an engine without
        # a bridge, which would change the machine's packet filter, will do.
        self._container = container.with_kwargs(network="host")
        self._ready = Answers(ask)
        self._made = False

    @excused
    def start(self, files: Mapping[str, bytes]) -> None:
        """Start it with *files* in it; raises Unavailable."""
        again = self._made
        if again:
            for path, content in files.items():
                self._container.copy_into_container(content, path)
            self._container.get_wrapped_container().start()
        else:
            for path, content in files.items():
                self._container.with_copy_into_container(content, path)
            self._container.start()
            self._made = True
        try:
            self._ready.wait_until_ready(self._container)
        except Unavailable:
            if not again:
                self.remove()  # nobody else will: whoever makes a server ends it only once it has started
            raise

    @excused
    def kill(self) -> None:
        """End it at once, as a power cut would; nothing where it has ended already."""
        self._container.reload()
        if self._container.status == "running":
            wrapped = self._container.get_wrapped_container()
            wrapped.kill("KILL")
            wrapped.wait(timeout=KILL_TIMEOUT_S)

    @excused
    def remove(self) -> None:
        """Remove it, its data, and the connection to the engine."""
        self._container.stop()


class DockerNats:
    """One nats-server; identities lie in *keys*."""

    def __init__(self, image: str, keys: Path) -> None:
        self._keys = keys
        self._port = free_port()
        self.url = f"nats://127.0.0.1:{self._port}"
        container = DockerContainer(image).with_command(["-c", NATS_CONFIG])
        self.process = Contained(container, lambda: answers(self._port))

    def start(self, hosts: Mapping[HostId, str]) -> None:
        """Start with the accounts of the services and of *hosts*."""
        services = {name: ensure_identity(self._keys, name) for name in SERVICES}
        config = server_config(self._port, "/data", accounts(services, hosts))
        self.process.start({NATS_CONFIG: config.encode()})

    def stop(self) -> None:
        """Remove it."""
        self.process.remove()


class DockerPostgres:
    """One PostgreSQL."""

    def __init__(self, image: str) -> None:
        port = free_port()
        self.dsn = f"postgresql+asyncpg://{USER}:{PASSWORD}@127.0.0.1:{port}/{DATABASE}"
        options = POSTGRES_OPTIONS | {"listen_addresses": "127.0.0.1", "port": str(port)}
        container = (
            DockerContainer(image)
            .with_envs(POSTGRES_USER=USER, POSTGRES_PASSWORD=PASSWORD, POSTGRES_DB=DATABASE)
            .with_command([part for key, value in options.items() for part in ("-c", f"{key}={value}")])
        )
        self.process = Contained(container, lambda: accepts(port))

    def start(self) -> None:
        """Start it."""
        self.process.start({})

    def remove(self) -> None:
        """Remove it with its data."""
        self.process.remove()


def accepts(port: int) -> bool:
    """Tell whether the PostgreSQL on loopback *port* takes sessions: it asks who we are, or says why not."""
    words = f"user\0{USER}\0database\0{DATABASE}\0\0".encode()
    hello = struct.pack("!ii", 8 + len(words), PROTOCOL) + words
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as asking:
            asking.sendall(hello)
            return asking.recv(1) == b"R"
    except OSError:
        return False
