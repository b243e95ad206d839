"""Read settings from the environment before anything is connected to, and refuse bad ones by name."""

import sys
from pathlib import Path
from typing import Annotated, TypeVar
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

EX_CONFIG = 78
"""sysexits.h: something was found in an unconfigured or misconfigured state."""

Port = Annotated[int, Field(ge=1, le=65535)]
LogLevel = Annotated[str, Field(pattern="^(debug|info|warning|error)$")]


class Settings(BaseSettings):
    """What every service reads; each variable is `ROOST_` and the field's name in capitals."""

    model_config = SettingsConfigDict(env_prefix="ROOST_", extra="ignore", frozen=True)

    log_level: LogLevel = "info"
    health_port: Port | None = None


class NatsSettings(Settings):
    """Where the event log is, and who we are there."""

    nats_url: Annotated[str, Field(pattern=r"^(nats|tls)://[^@\s]+$")] = "nats://127.0.0.1:4222"
    """Without a password, which would be logged with it: who we are is in the seed file."""
    nats_seed_file: Path


class PostgresSettings(Settings):
    """Where the read models are."""

    postgres_dsn: SecretStr

    @field_validator("postgres_dsn")
    @classmethod
    def _is_an_address(cls, dsn: SecretStr) -> SecretStr:
        """Refuse what cannot be cut into its parts: the driver would go elsewhere, or end in a traceback."""
        try:
            parts = urlsplit(dsn.get_secret_value())
            whole = parts.port is None or parts.port > 0
        except ValueError:
            whole = False
        if not whole or parts.scheme != "postgresql+asyncpg" or parts.fragment or "@" in parts.path:
            raise ValueError(
                "write postgresql+asyncpg://USER:PASSWORD@HOST:PORT/DATABASE, "
                "each special character of the password as % and two digits"
            )
        return dsn


S = TypeVar("S", bound=BaseSettings)


def load(settings: type[S]) -> S:
    """Read *settings* or end the process with 78, naming each setting, its value and what is allowed."""
    try:
        return settings()
    except ValidationError as err:
        for problem in err.errors(include_url=False):
            name = "ROOST_" + "_".join(str(part) for part in problem["loc"][:1]).upper()
            sys.stderr.write(f"error: setting {name}{_value(settings, problem)}: {problem['msg']}\n")
        sys.stderr.write("Nothing was connected to and nothing was changed. Mend the setting, start again.\n")
        raise SystemExit(EX_CONFIG) from err


def _value(settings: type[BaseSettings], problem: ErrorDetails) -> str:
    if problem["type"] == "missing":
        return " is missing"
    annotation = str(settings.model_fields[str(problem["loc"][0])].annotation)
    secret = "Secret" in annotation or "@" in str(problem["input"])  # an address may hold a password
    return "" if secret else f" is {problem['input']!r}"
