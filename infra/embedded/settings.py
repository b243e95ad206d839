"""What the embedded servers are told."""

from pathlib import Path

from infra.runtime.settings import Settings


class EmbeddedSettings(Settings):
    """Each is read from `ROOST_` and the name in capitals."""

    postgres_bin: Path | None = None
    """The folder with `initdb` and `postgres`; by default the distribution's, else the pip-installed one."""
