"""Settings that would be unsafe are refused by name, before anything is connected to."""

from pathlib import Path

import pytest

from infra.runtime.errors import ConfigInvalid
from infra.runtime.settings import EX_CONFIG, load
from services.api.main import credentials_of
from services.api.settings import ApiSettings


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    (tmp_path / "token").write_text("let-me-in\n")
    monkeypatch.setenv("ROOST_NATS_SEED_FILE", "api.nk")
    monkeypatch.setenv("ROOST_POSTGRES_DSN", "postgresql+asyncpg://nowhere/roost")
    monkeypatch.setenv("ROOST_ADMIN_TOKEN_FILE", str(tmp_path / "token"))
    return monkeypatch


def test_it_listens_on_loopback_by_itself(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("ROOST_API_PORT", raising=False)
    assert load(ApiSettings).url == "http://127.0.0.1:8080"
    environment.setenv("ROOST_API_HOST", "::1")
    assert load(ApiSettings).url == "http://[::1]:8080"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "roost.example.com", "192.0.2.1"])  # noqa: S104
def test_it_goes_nowhere_else_without_tls(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], host: str
) -> None:
    environment.setenv("ROOST_API_HOST", host)
    with pytest.raises(SystemExit) as ended:
        load(ApiSettings)
    assert ended.value.code == EX_CONFIG
    assert "ROOST_API_HOST" in capsys.readouterr().err
    environment.setenv("ROOST_API_TLS_CERT", "cert.pem")
    environment.setenv("ROOST_API_TLS_KEY", "key.pem")
    assert load(ApiSettings).url.startswith("https://")


@pytest.mark.usefixtures("environment")
def test_a_token_is_needed_and_only_its_digest_is_kept(tmp_path: Path) -> None:
    credentials = credentials_of(load(ApiSettings))
    assert (credentials.principal("let-me-in"), credentials.principal("let-me")) == ("admin", None)
    assert "let-me-in" not in repr(credentials)
    (tmp_path / "token").write_text("\n")
    with pytest.raises(ConfigInvalid, match="empty"):
        credentials_of(load(ApiSettings))
    (tmp_path / "token").unlink()
    with pytest.raises(ConfigInvalid, match="ROOST_ADMIN_TOKEN_FILE"):
        credentials_of(load(ApiSettings))
