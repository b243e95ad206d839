"""What the API reads from its environment."""

from ipaddress import ip_address
from pathlib import Path

from pydantic import field_validator
from pydantic_core.core_schema import ValidationInfo

from infra.runtime.settings import NatsSettings, Port, PostgresSettings


class ApiSettings(NatsSettings, PostgresSettings):
    """Each variable is `ROOST_` and the field's name in capitals."""

    admin_token_file: Path
    """Holds the token of the principal `admin`."""
    api_tls_cert: Path | None = None
    api_tls_key: Path | None = None
    api_host: str = "127.0.0.1"
    api_port: Port = 8080

    @field_validator("api_host")
    @classmethod
    def _is_safe(cls, host: str, others: ValidationInfo) -> str:
        """Refuse to send tokens over a network in the clear."""
        tls = others.data.get("api_tls_cert") and others.data.get("api_tls_key")
        if not tls and not _is_loopback(host):
            raise ValueError("not loopback: set ROOST_API_TLS_CERT and ROOST_API_TLS_KEY, or use 127.0.0.1")
        return host

    @property
    def url(self) -> str:
        """Where the API is found."""
        scheme = "https" if self.api_tls_cert else "http"
        host = f"[{self.api_host}]" if ":" in self.api_host else self.api_host
        return f"{scheme}://{host}:{self.api_port}"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
