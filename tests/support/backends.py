"""Where the servers of the tests come from: an address, a Docker engine, or the binaries on this machine."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from events.ids import HostId
from tests.support.settings import Backend

POSTGRES_OPTIONS = {"max_connections": "50", "fsync": "off"}
"""Without fsync, what was acknowledged still outlives a kill -9: the kernel has it. With it, the start after
a kill syncs every file of every database that a test has made: 19 s at 20 of them (measured)."""


class BackendUnfit(Exception):
    """What was asked for cannot be had; the text says what to do."""


@dataclass(frozen=True)
class Address:
    """A server that runs already, and that nobody here may end."""

    where: str


@dataclass(frozen=True)
class Image:
    """A container of an image that the engine has."""

    name: str


@dataclass(frozen=True)
class Binaries:
    """A process of ours."""


Source = Address | Image | Binaries


@dataclass(frozen=True)
class Engine:
    """The Docker engine as it was found; *refusal* says why there is none."""

    images: frozenset[str] = frozenset()
    refusal: str = ""


def choose(*, address: str | None, image: str, forced: Backend | None, engine: Engine) -> Source:
    """Say where one server comes from; raises BackendUnfit where what is forced cannot be."""
    match forced:
        case Backend.LOCAL:
            return Binaries()
        case Backend.DOCKER if engine.refusal:
            raise BackendUnfit(
                f"ROOST_TEST_BACKEND is docker, but {engine.refusal}. Start an engine, name it by "
                "DOCKER_HOST, or run `make test-docker`, which starts one of its own."
            )
        case Backend.DOCKER if image not in engine.images:
            raise BackendUnfit(
                f"ROOST_TEST_BACKEND is docker, but the engine has no image {image}, and no test pulls one. "
                f"Run `docker pull {image}`, or name another by ROOST_TEST_NATS_IMAGE or "
                f"ROOST_TEST_POSTGRES_IMAGE. It has: {', '.join(sorted(engine.images)) or 'none'}."
            )
        case Backend.DOCKER:
            return Image(image)
        case None if address is not None:
            return Address(address)
        case None if image in engine.images:
            return Image(image)
        case None:
            return Binaries()


class Killable(Protocol):
    """What runs a server."""

    def kill(self) -> None:
        """End it at once, as a power cut would."""


class NatsBackend(Protocol):
    """A nats-server from anywhere."""

    @property
    def url(self) -> str:
        """Where clients connect."""

    @property
    def process(self) -> Killable | None:
        """What can be killed, once it was started."""

    def start(self, hosts: Mapping[HostId, str]) -> None:
        """Start, also after a kill, on the same data and address; *hosts* may connect by their keys."""

    def stop(self) -> None:
        """End it."""


class PostgresBackend(Protocol):
    """A PostgreSQL from anywhere."""

    @property
    def dsn(self) -> str:
        """Where clients connect, with a database that is there from the start."""

    @property
    def process(self) -> Killable | None:
        """What can be killed, once it was started."""

    def start(self) -> None:
        """Start, also after a kill, on the same data and address."""

    def remove(self) -> None:
        """End it and leave nothing of it behind, where it is ours."""
