"""Search everything that roost writes for what it must keep to itself."""

import base64
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import asyncpg
from nats.aio.client import Client

from infra.eventlog.jetstream import ask

KEPT_IN = {"keys", "token"}
"""What of a stack's folder holds the secrets themselves."""

Place = tuple[str, bytes]


def leaks(secrets: Mapping[str, str], places: Iterable[Place]) -> set[tuple[str, str]]:
    """Say which of *secrets* (name to text) lies in which place."""
    wanted = {name: text.encode() for name, text in secrets.items()}
    return {(name, place) for place, found in places for name, text in wanted.items() if text in found}


def in_files(folder: Path) -> Iterator[Place]:
    """Read logs, journals, configurations and the servers' own files, but not where secrets are kept."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.relative_to(folder).parts[0] not in KEPT_IN:
            yield f"file {path.relative_to(folder)}", path.read_bytes()


async def in_streams(client: Client) -> list[Place]:
    """Read every message of every stream, with its subject and headers."""
    found: list[Place] = []
    for stream in (await ask(client, "$JS.API.STREAM.NAMES", {}))["streams"]:
        state = (await ask(client, f"$JS.API.STREAM.INFO.{stream}", {}))["state"]
        for seq in range(max(1, state["first_seq"]), state["last_seq"] + 1):
            message = (await ask(client, f"$JS.API.STREAM.MSG.GET.{stream}", {"seq": seq}))["message"]
            parts = (base64.b64decode(message.get(name, "")) for name in ("hdrs", "data"))
            found.append((f"stream {stream}", message["subject"].encode() + b"\n".join(parts)))
    return found


async def in_tables(dsn: str) -> list[Place]:
    """Read every row of every table as text, bytes included."""
    connection = await asyncpg.connect(dsn.replace("+asyncpg", ""))
    try:
        await connection.execute("SET bytea_output = 'escape'")
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return [
            (f"table {table}", row.encode())
            for (table,) in tables
            for (row,) in await connection.fetch(f'SELECT t::text FROM "{table}" t')  # noqa: S608
        ]
    finally:
        await connection.close()


def in_command_lines() -> list[Place]:
    """Read how every process of this machine was started."""
    found: list[Place] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            found.append(("command line", (folder / "cmdline").read_bytes()))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found
