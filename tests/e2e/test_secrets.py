"""What roost must keep to itself is nowhere but where it is kept: each secret is drawn, then searched for."""

import asyncio
import http.client
import secrets
import sqlite3
import stat
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import asyncpg
import pytest
from nats.aio.client import Client
from pydantic import SecretStr

from infra.deploy.bootstrap import BootstrapSettings
from infra.deploy.identities import SERVICES, ensure_identity, seed_file
from infra.dev.stack import Stack
from infra.embedded.settings import EmbeddedSettings
from infra.eventlog.connection import closer, connect
from infra.runtime.ids import random_id
from infra.runtime.settings import Settings
from services.api.settings import ApiSettings
from services.hostd.settings import HostdSettings, SimulatedSettings
from services.projector.settings import ProjectorSettings
from services.scheduler.settings import SchedulerSettings
from tests.e2e.world import done, in_phase, roost, world
from tests.support.builders import VM, a_write, running
from tests.support.canary import (
    KEPT_IN,
    Place,
    in_command_lines,
    in_files,
    in_streams,
    in_tables,
    leaks,
)
from tests.support.eventually import eventually
from tests.support.process import refusal, running_service

pytestmark = [pytest.mark.timeout(240), pytest.mark.drives_processes]
ALL_SETTINGS: tuple[type[Settings], ...] = (
    *(ApiSettings, BootstrapSettings, EmbeddedSettings, HostdSettings),
    *(ProjectorSettings, SchedulerSettings, SimulatedSettings),
)
SECRET_FIELDS = {"postgres_dsn", "nats_seed_file", "admin_token_file", "api_tls_key"}
"""Every setting that is a secret or names a file with one. TLS's own library alone reads its key."""


def test_every_secret_setting_is_known_here() -> None:
    fields = {(name, str(one.annotation)) for kind in ALL_SETTINGS for name, one in kind.model_fields.items()}
    words = ("token", "seed", "key", "password", "secret", "dsn", "credential")
    found = {name for name, type_ in fields if "Secret" in type_ or any(word in name for word in words)}
    assert found == SECRET_FIELDS


@pytest.fixture
async def stack(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stack]:
    """A stack that says all that it can say."""
    monkeypatch.setenv("ROOST_LOG_LEVEL", "debug")
    async with world("sim", whole=False) as running:  # what is planted is no part of it
        yield running


@pytest.fixture
async def admin(stack: Stack) -> AsyncIterator[Client]:
    client = await connect(stack.nats.url, seed_file(stack.keys, "bootstrap"), "bootstrap", lambda _: None)
    yield client
    await closer(client)()


def drawn(stack: Stack) -> dict[str, str]:
    """Give every secret that the stack drew: each is a random marker."""
    names = (*SERVICES, *(f"host-{host.host_id}" for host in stack.hosts))
    seeds = {f"seed of {name}": seed_file(stack.keys, name).read_text().strip() for name in names}
    return {
        "token": stack.token,
        "password": (stack.keys / "postgres.password").read_text().strip(),
        **seeds,
    }


async def call(stack: Stack, path: str, headers: dict[str, str], body: str | None = None) -> Place:
    """Ask the API; give its whole answer."""

    def ask() -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", stack.api_port, timeout=30)
        connection.request("GET" if body is None else "POST", path, body, headers)
        answer = connection.getresponse()
        found = str(answer.getheaders()).encode() + answer.read()
        connection.close()
        return found

    return f"answer to {path.split('?', maxsplit=1)[0]}", await asyncio.to_thread(ask)


async def everything(stack: Stack, admin: Client) -> list[Place]:
    """Read all places."""

    def of_this_machine() -> list[Place]:
        return [*in_files(stack.wanted.data), *in_files(stack.postgres.folder), *in_command_lines()]

    found = await asyncio.to_thread(of_this_machine)
    return [*found, *await in_streams(admin), *await in_tables(stack.postgres.dsn)]


async def a_life(stack: Stack) -> list[Place]:
    """Lead a VM through its life and read all that the API and the command line have to say of it."""
    said = [
        await done(stack, *["vm", "create", "canary", "--image", "tiny", "--cpu", "1", "--memory", "128M"]),
        await done(stack, "vm", "start", "canary"),
    ]
    await in_phase(stack, "canary", "running")
    said += [
        await roost(stack, "vm", "create", "canary", "--image", "tiny", "--cpu", "1", "--memory", "128M"),
        await roost(stack, *["vm", "create", "vast", "--image", "tiny", "--cpu", "1", "--memory", "900G"]),
        await roost(stack, "vm", "start", "vast"),
        await done(stack, "vm", "history", "canary", "-o", "json"),
        await done(stack, *["vm", "stop", "canary", "--grace", "1"]),
        await done(stack, "vm", "delete", "canary"),
        await roost(stack, "vm", "start", "canary"),
        await done(stack, "op", "list", "-o", "json"),
    ]
    good = {"Authorization": f"Bearer {stack.token}"}
    paths = ("/api/v1/vms", "/api/v1/hosts", "/api/v1/operations", "/api/v1/events", "/readyz?verbose")
    answers = [await call(stack, path, good) for path in (*paths, "/version", "/api/v1/openapi.json")]
    return [*answers, *(("command line's words", (one.out + one.err).encode()) for one in said)]


async def wrong_ones(stack: Stack, wrong: dict[str, str]) -> list[Place]:
    """Come with each kind of wrong credential."""
    plain = {"Content-Type": "application/json"}
    answers = [
        await call(stack, "/api/v1/vms", {"Authorization": f"Bearer {wrong['token']}"}),
        await call(stack, "/api/v1/vms", {"Authorization": f"Basic {wrong['token']}"}),
        await call(stack, "/api/v1/vms", {"Authorization": wrong["token"]}),
        await call(stack, "/api/v1/vms", plain | {"Authorization": f"Bearer {wrong['token']}"}, "{"),
        await call(stack, "/nowhere", {"Cookie": wrong["token"], "Authorization": wrong["token"]}),
    ]
    env = {"ROOST_NATS_URL": stack.nats.url, "ROOST_NATS_SEED_FILE": str(seed_file(stack.keys, "projector"))}
    password = drawn(stack)["password"]
    dsn = stack.postgres.dsn.replace(password, wrong["password"])
    strange = env | {"ROOST_NATS_SEED_FILE": str(seed_file(stack.keys, "stranger"))}
    for name, module, settings in (
        ("stranger", "services.scheduler.main", strange),
        ("mistaken", "services.projector.main", env | {"ROOST_POSTGRES_DSN": dsn}),
    ):
        said = stack.wanted.data / "logs" / f"{name}.log"
        async with running_service(module, settings=settings, said=said) as process:
            await eventually(partial(_gave_word, said, process), f"{name} is refused")
    return answers


def _gave_word(said: Path, process: asyncio.subprocess.Process) -> bool:
    return process.returncode is not None or b"outage_began" in said.read_bytes()


async def test_nothing_that_roost_writes_holds_a_secret(stack: Stack, admin: Client) -> None:
    ensure_identity(stack.keys, "stranger")
    wrong = {"token": f"roost_{secrets.token_urlsafe(32)}", "password": secrets.token_hex(16)}
    answers = [*await a_life(stack), *await wrong_ones(stack, wrong)]
    sought = drawn(stack) | {f"wrong {name}": text for name, text in wrong.items()}
    sought["wrong seed"] = seed_file(stack.keys, "stranger").read_text().strip()
    places = [*await everything(stack, admin), *answers]
    assert await asyncio.to_thread(leaks, sought, places) == set()
    # There was something to search: each kind of place tells of the VM.
    told = {place.split("/")[0] for _, place in await asyncio.to_thread(leaks, {"name": "canary"}, places)}
    assert {"stream EVT", "stream CMD", "table event_log", "table vms", "file hosts"} <= told
    kept = [stack.wanted.data / name for name in KEPT_IN] + list(stack.keys.iterdir())
    assert [path for path in kept if stat.S_IMODE(path.stat().st_mode) & 0o077] == []


async def test_the_search_bites_in_every_place(stack: Stack, admin: Client) -> None:
    planted = secrets.token_hex(16)
    sleeper = await asyncio.create_subprocess_exec("sleep", "60", env={}, executable="sleep")
    teller = await asyncio.create_subprocess_exec("tail", "-f", "/dev/null", f"--pid={sleeper.pid}", planted)
    try:
        await plant(stack, admin, planted)
        places = await everything(stack, admin)
        found = {place for _, place in await asyncio.to_thread(leaks, {"planted": planted}, places)}
    finally:
        for process in (teller, sleeper):
            process.kill()
            await process.wait()
    streams = {"stream EVT", "stream CMD", "stream DEAD", "stream LEASE"}
    files = {"file logs/api.log", "file nats/nats.conf", "file hosts/planted.sqlite"}
    assert {*streams, *files, "table event_log", "command line"} <= found


async def plant(stack: Stack, admin: Client, planted: str) -> None:
    """Leave it where it should never be."""
    subjects = {
        "EVT": f"evt.vm.{VM}.planted",
        "CMD": f"cmd.vm.{VM}.{VM}",
        "DEAD": "dead.evt",
        "LEASE": "lease.svc.planted",
    }
    for stream, subject in subjects.items():
        write = a_write(subject, running(), event_id=random_id())
        headers = {"Planted": planted} if stream == "EVT" else None
        await admin.request(subject, write.body if headers else planted.encode(), headers=headers)
    for name in ("logs/api.log", "nats/nats.conf"):
        with (stack.wanted.data / name).open("a") as sink:
            sink.write(f"# {planted}\n")
    journal = sqlite3.connect(stack.wanted.data / "hosts" / "planted.sqlite")
    journal.execute("PRAGMA journal_mode = wal")
    journal.execute("CREATE TABLE planted (what TEXT)")
    journal.execute("INSERT INTO planted VALUES (?)", (planted,))
    journal.commit()
    journal.close()
    connection = await asyncpg.connect(stack.postgres.dsn.replace("+asyncpg", ""))
    insert = "INSERT INTO event_log (seq, subject, raw) VALUES (1000000, 'planted', $1)"
    await connection.execute(insert, planted.encode())
    await connection.close()


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql+asyncpg://roost:{0}/x@127.0.0.1:1/roost",
        "postgresql+asyncpg://roost:{0}#x@127.0.0.1:1/roost",
        "postgresql+asyncpg://roost:{0}?x@127.0.0.1:1/roost",
        "postgresql+asyncpg://roost:{0}@127.0.0.1:port/roost",
        "mysql://roost:{0}@127.0.0.1/roost",
        "{0}",
    ],
)
async def test_a_dsn_that_cannot_be_used_is_refused_without_its_words(dsn: str, tmp_path: Path) -> None:
    password = secrets.token_hex(16)
    ensure_identity(tmp_path, "projector")
    seed = {"ROOST_NATS_SEED_FILE": str(seed_file(tmp_path, "projector"))}
    wrong = {"ROOST_POSTGRES_DSN": dsn.format(password)}
    code, said = await refusal("services.projector.main", settings=seed | wrong)
    assert code == 78, said
    assert "ROOST_POSTGRES_DSN" in said
    assert password not in said


async def test_an_address_with_a_password_is_refused_without_it(tmp_path: Path) -> None:
    password = secrets.token_hex(16)
    ensure_identity(tmp_path, "scheduler")
    settings = {
        "ROOST_NATS_SEED_FILE": str(seed_file(tmp_path, "scheduler")),
        "ROOST_NATS_URL": f"nats://roost:{password}@127.0.0.1:1",
    }
    code, said = await refusal("services.scheduler.main", settings=settings)
    assert (code, "ROOST_NATS_URL" in said, password in said) == (78, True, False)


async def test_a_seed_file_that_holds_none_is_refused_without_its_words(tmp_path: Path) -> None:
    seed = "SU" + secrets.token_hex(28).upper()
    (tmp_path / "scheduler.nk").write_text(seed)
    settings = {"ROOST_NATS_SEED_FILE": str(tmp_path / "scheduler.nk")}
    code, said = await refusal("services.scheduler.main", settings=settings)
    assert (code, "seed" in said, seed in said) == (78, True, False)


def test_settings_do_not_print_their_secrets(tmp_path: Path) -> None:
    password = secrets.token_hex(16)
    dsn = SecretStr(f"postgresql+asyncpg://roost:{password}@127.0.0.1/roost")
    settings = ProjectorSettings(postgres_dsn=dsn, nats_seed_file=tmp_path)
    assert password not in f"{settings!r} {settings} {settings.model_dump_json()}"
