"""Look after the log: `python -m sim.log verify`, or `roost log verify`."""

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Sequence

from events import subjects
from infra.deploy.accounts import COMMAND_CONSUMER
from infra.eventlog.connection import closer, connect
from infra.eventlog.consumer import settled
from infra.eventlog.jetstream import JetStreamLog
from infra.readmodel.engine import make_engine
from infra.readmodel.snapshot import Snapshot, snapshot
from infra.runtime.errors import Unavailable
from infra.runtime.ids import random_id
from infra.runtime.log import configure_logging
from infra.runtime.settings import load
from sim.audit import Audit, Finding, Tables
from sim.checkers.history import Kept
from sim.reading import recorded_of
from sim.settings import AuditSettings

NAME = "auditor"
STATEMENT_TIMEOUT_S = 600.0
FAULTS_SHOWN = 20
FAULTY = 1
AWAY = 69
"""sysexits.h: a service is unavailable."""


async def verify(settings: AuditSettings, say: Callable[[str], None]) -> Sequence[Finding]:
    """Audit a live system, changing nothing; raises Unavailable."""
    client = await connect(settings.nats_url, settings.nats_seed_file, NAME, lambda _: None)
    dsn = settings.postgres_dsn.get_secret_value()
    engine = make_engine(dsn, NAME, pool_size=1, statement_timeout_s=STATEMENT_TIMEOUT_S)
    evt, cmd = (JetStreamLog(client, stream, random_id) for stream in ("EVT", "CMD"))
    try:
        up_to = await settled(client, "CMD", COMMAND_CONSUMER)
        async with snapshot(engine) as seen:
            tables = Tables(await seen.positions(), await seen.rows(), await seen.steps(), _history(seen))
            audit = Audit(up_to, tables, say)
            return await audit.run(
                recorded_of(evt, subjects.EVT_ALL),
                recorded_of(cmd, subjects.CMD_ALL, forgets=True),
            )
    finally:
        await engine.dispose()
        await closer(client)()


async def _history(seen: Snapshot) -> AsyncIterator[Kept]:
    async for seq, subject, raw in seen.history():
        yield Kept(seq, subject, raw)


def table(findings: Sequence[Finding]) -> str:
    """Lay out the findings for a person."""
    rows = [("CHECK", "HOLDS", "LOOKED AT")]
    rows += [(one.check, _verdict(one), one.looked_at) for one in findings]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]}" for row in rows]
    for one in findings:
        lines += [f"{one.check}: {fault}" for fault in one.faults[:FAULTS_SHOWN]]
        if len(one.faults) > FAULTS_SHOWN:
            lines.append(f"{one.check}: and {len(one.faults) - FAULTS_SHOWN} more; -o json has them all")
    return "\n".join(lines)


def _verdict(finding: Finding) -> str:
    return "yes" if not finding.faults else f"NO ({len(finding.faults)})"


def document(findings: Sequence[Finding]) -> str:
    """Lay out the findings for a program."""
    shown = [
        {"check": one.check, "holds": not one.faults, "looked_at": one.looked_at, "faults": list(one.faults)}
        for one in findings
    ]
    return json.dumps({"holds": not any(one.faults for one in findings), "checks": shown}, indent=2)


def _say(line: str) -> None:
    if sys.stderr.isatty():
        print(f"roost log: {line}", file=sys.stderr, flush=True)


def main() -> None:
    """Parse, verify, and say what holds; exit 1 where something does not."""
    parser = argparse.ArgumentParser(prog="roost log", description="Look after the log.")
    commands = parser.add_subparsers(required=True)
    checking = commands.add_parser(
        "verify",
        help="compare the log with everything that was made of it; changes nothing",
        description="Compare the log with everything that was made of it. It reads all, changes nothing, and "
        "may run beside a live system. Exit 1: something does not hold; 69: something is away.",
    )
    checking.add_argument("-o", "--output", choices=["table", "json"], default="table")
    output = parser.parse_args().output
    settings = load(AuditSettings)
    configure_logging(NAME, "error")
    try:
        findings = asyncio.run(verify(settings, _say))
    except Unavailable as err:
        print(f"error: cannot verify: {err}\ntry:   again when it is back", file=sys.stderr)
        sys.exit(AWAY)
    print(table(findings) if output == "table" else document(findings))
    sys.exit(FAULTY if any(one.faults for one in findings) else 0)


if __name__ == "__main__":
    main()
