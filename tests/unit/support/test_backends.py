"""Where the servers of the tests come from: values in, choice out."""

import pytest
from pydantic import ValidationError

from tests.support.backends import Address, BackendUnfit, Binaries, Engine, Image, Source, choose
from tests.support.settings import Backend, BackendSettings

AT = "nats://127.0.0.1:4222"
NATS = "nats:2.12-alpine"
NONE = Engine(refusal="no Docker engine answers at unix:///nowhere")
EMPTY = Engine()
OTHER = Engine(frozenset({"nats:1", "debian:12"}))
READY = Engine(frozenset({NATS, "debian:12"}))


@pytest.mark.parametrize(
    ("address", "engine", "chosen"),
    [
        (None, NONE, Binaries()),
        (None, EMPTY, Binaries()),
        (None, OTHER, Binaries()),
        (None, READY, Image(NATS)),
        (AT, NONE, Address(AT)),
        (AT, READY, Address(AT)),
    ],
)
def test_an_address_comes_first_then_an_image_then_the_binaries(
    address: str | None, engine: Engine, chosen: Source
) -> None:
    assert choose(address=address, image=NATS, forced=None, engine=engine) == chosen


@pytest.mark.parametrize("address", [None, AT])
@pytest.mark.parametrize("engine", [NONE, READY])
def test_local_is_local_whatever_else_is_there(address: str | None, engine: Engine) -> None:
    assert choose(address=address, image=NATS, forced=Backend.LOCAL, engine=engine) == Binaries()


@pytest.mark.parametrize("address", [None, AT])
def test_docker_is_docker_whatever_else_is_there(address: str | None) -> None:
    assert choose(address=address, image=NATS, forced=Backend.DOCKER, engine=READY) == Image(NATS)


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        (NONE, (NONE.refusal, "make test-docker")),
        (EMPTY, (f"docker pull {NATS}", "It has: none")),
        (OTHER, (f"docker pull {NATS}", "It has: debian:12, nats:1")),
    ],
)
def test_docker_that_cannot_be_is_refused_with_what_to_do(engine: Engine, said: tuple[str, ...]) -> None:
    with pytest.raises(BackendUnfit) as refused:
        choose(address=None, image=NATS, forced=Backend.DOCKER, engine=engine)
    assert all(part in str(refused.value) for part in said), refused.value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ROOST_TEST_BACKEND", "podman"),
        ("ROOST_TEST_NATS_URL", "http://127.0.0.1:4222"),
        ("ROOST_TEST_POSTGRES_DSN", "postgresql+asyncpg://me@127.0.0.1"),
    ],
)
def test_a_bad_setting_is_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError):
        BackendSettings()
