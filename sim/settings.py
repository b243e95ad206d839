"""What an audit is told: the environment, else what `roost dev` left in the current directory."""

from pydantic_settings import SettingsConfigDict

from infra.runtime.settings import NatsSettings, PostgresSettings

DEV = ".roost-dev/keys/auditor.env"


class AuditSettings(NatsSettings, PostgresSettings):
    """Each is read from `ROOST_` and the name in capitals."""

    model_config = SettingsConfigDict(env_prefix="ROOST_", extra="ignore", frozen=True, env_file=DEV)
