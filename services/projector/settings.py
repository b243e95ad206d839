"""What a projector is told."""

from infra.runtime.settings import NatsSettings, PostgresSettings


class ProjectorSettings(NatsSettings, PostgresSettings):
    """Each is read from `ROOST_` and the name in capitals."""
