"""What the environment tells the tests: where their servers come from, and which seed to take."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field

from infra.runtime.settings import Settings


class Backend(StrEnum):
    """What can be asked for by name."""

    DOCKER = "docker"
    LOCAL = "local"


class BackendSettings(Settings):
    """Each is read from `ROOST_` and the name in capitals."""

    test_backend: Backend | None = None
    """Forces one, whatever else is there."""

    test_nats_url: Annotated[str, Field(pattern=r"^nats://.+")] | None = None
    test_nats_keys: Path | None = None
    """The folder with the seeds of the services that the server at that address knows."""

    test_postgres_dsn: Annotated[str, Field(pattern=r"^postgresql\+asyncpg://[^?]+/[^/?]+$")] | None = None
    """A role that may make databases; those whose names begin with `roost_test` are the tests' own."""

    test_nats_image: str = "nats:2.12-alpine"
    test_postgres_image: str = "postgres:18"


class SeedSettings(Settings):
    """Read from `ROOST_TEST_SEED`."""

    test_seed: int | None = None
