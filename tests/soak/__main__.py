"""Go on where the tests stop: `make soak PART=crash ROUNDS=20`. The next run goes on where this one ends.

crash: each round dies at the next points on real QEMU. chaos: each round makes 100 starts and stops on
simulated hosts while services, NATS and PostgreSQL are killed at random. log: each round deals five blows to
the leaders of three nats-servers under load.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from random import Random
from typing import Any

from infra.embedded.nats import EmbeddedNats
from infra.embedded.postgres import EmbeddedPostgres
from tests.crash.chaos import Chaos
from tests.crash.real import a_real_world, sampled
from tests.crash.world import a_world, found
from tests.support.leaders import Blow, live_through
from tests.support.nats_cluster import NatsCluster
from tests.support.postgres import PostgresServer
from tests.support.stack import NatsServer

LIVES = 8
PAIRS = 100
BLOWS = 5
KEPT = Path(".cache/soak")


async def crash(seed: int, say: Callable[[str], None]) -> Mapping[str, int]:
    """Die at the next points; give how often each service died."""
    died: dict[str, int] = {}
    async with a_real_world(say) as walks:
        for service, deaths in await sampled(walks, seed, LIVES):
            lived = await walks[service].die(deaths)
            died[service] = died.get(service, 0) + sum(map(len, lived.values()))
    return died


async def chaos(seed: int, say: Callable[[str], None]) -> Mapping[str, int]:
    """Weather one storm; give how often each was killed, and the starts and stops done."""
    with tempfile.TemporaryDirectory(prefix="roost-soak-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        nats = NatsServer(EmbeddedNats(folder / "nats", folder / "keys"), folder / "keys")
        postgres = PostgresServer(EmbeddedPostgres(folder / "postgres", folder / "keys"))
        try:
            dsn = await postgres.new_database()
            hosts = await found(nats, dsn)
            async with a_world(nats, dsn, hosts, folder / "world") as world:
                storm = Chaos(world, nats, postgres, Random(seed), say)  # noqa: S311 - to be repeated
                await storm.run(PAIRS)
                return {**storm.kills, "starts and stops": storm.done}
        finally:
            nats.server.stop()
            postgres.close()


async def log(seed: int, _: Callable[[str], None]) -> Mapping[str, int]:
    """Deal blows to the leaders of a cluster; give what its writers were told."""
    blows = Random(seed).choices(list(Blow), k=BLOWS)  # noqa: S311 - to be repeated
    with tempfile.TemporaryDirectory(prefix="roost-soak-") as folder:
        cluster = NatsCluster(Path(folder))
        try:
            told = await live_through(cluster, blows, seed)
        finally:
            cluster.stop()
    return {
        "blows": len(blows),
        "acknowledged": len(told.acked),
        "conflicts": len(told.refused),
        "unavailable": len(told.unknown),
        "facts": sum(len(ids) for ids in told.told.values()),
    }


PARTS: Mapping[str, Callable[[int, Callable[[str], None]], Coroutine[Any, Any, Mapping[str, int]]]] = {
    "crash": crash,
    "chaos": chaos,
    "log": log,
}


def main() -> None:
    """Run rounds, keep what each came to, and stop at the first that fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--part", choices=sorted(PARTS), default="crash")
    parser.add_argument("--rounds", type=int, default=1)
    wanted = parser.parse_args()
    file = KEPT / f"{wanted.part}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    kept: dict[str, Any] = {"rounds": 0, "came_to": {}}
    if file.exists():
        kept = json.loads(file.read_text())
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s  {line}", file=sys.stderr, flush=True)

    for _ in range(wanted.rounds):
        seed = kept["rounds"]
        say(f"{wanted.part}: round {seed} begins")
        came_to = asyncio.run(PARTS[wanted.part](seed, say))
        total = {key: kept["came_to"].get(key, 0) + count for key, count in came_to.items()}
        kept = {"rounds": seed + 1, "came_to": kept["came_to"] | total}
        file.write_text(json.dumps(kept, indent=2) + "\n")
        print(f"{wanted.part}: round {seed}: {came_to}; in all {kept}", flush=True)


if __name__ == "__main__":
    main()
