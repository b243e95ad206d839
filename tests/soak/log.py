"""Deal blows to the leaders of a cluster, round after round: `python -m tests.soak.log --rounds 20`."""

import argparse
import asyncio
import json
import shutil
import tempfile
from pathlib import Path
from random import Random

from tests.support.leaders import Blow, live_through
from tests.support.nats_cluster import NatsCluster

BLOWS = 5


def main() -> None:
    """Write one JSON object a round; a round that fails ends it, and its seed repeats it."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.log", description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=1, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="the first round's; then S + 1, ...")
    args = parser.parse_args()
    for seed in range(args.seed, args.seed + args.rounds):
        blows = Random(seed).choices(list(Blow), k=BLOWS)  # noqa: S311
        folder = Path(tempfile.mkdtemp(prefix="roost-soak-"))
        cluster = NatsCluster(folder)
        try:
            told = asyncio.run(live_through(cluster, blows, seed))
        finally:
            cluster.stop()
            shutil.rmtree(folder)
        counts = {
            "seed": seed,
            "blows": [blow.name for blow in blows],
            "acked": len(told.acked),
            "conflicts": len(told.refused),
            "unavailable": len(told.unknown),
            "facts": sum(len(ids) for ids in told.told.values()),
        }
        print(json.dumps(counts), flush=True)


if __name__ == "__main__":
    main()
