"""Run the measurements: one JSON object a line on standard output, and nothing else there."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence

from tests.bench import hostd, quality, scheduler_core, scheduler_e2e, start, takeover
from tests.bench.result import Result

MEASUREMENTS: Mapping[tuple[str, ...], Callable[[], Sequence[Result]]] = {
    (
        "start.accept_to_create_ms_p50",
        "start.accept_to_create_ms_p99",
        "start.ratio_to_libvirt",
    ): start.measure,
    (
        "hostd.share_ms_p50",
        "hostd.parallel_start_ratio",
        "hostd.event_lag_ms_p99",
    ): hostd.measure,
    ("hostd.idle_cpu_pct", "hostd.rss_mib"): hostd.measure_idle,
    tuple(f"scheduler.core_per_s_{size}" for size in scheduler_core.SIZES): scheduler_core.measure,
    quality.azure_names("64c"): quality.azure("64c"),
    quality.azure_names("48c"): quality.azure("48c"),
    (quality.ALIBABA,): quality.alibaba,
    scheduler_e2e.NAMES: scheduler_e2e.measure,
    ("scheduler.takeover_s",): takeover.measure,
}


def main() -> None:
    """Measure what was asked for; end with 1 where a name is missing from what was measured."""
    parser = argparse.ArgumentParser(prog="make bench", description=main.__doc__)
    parser.add_argument("--only", default="", metavar="PREFIX")
    prefix = parser.parse_args().only
    chosen = {
        names: run for names, run in MEASUREMENTS.items() if any(name.startswith(prefix) for name in names)
    }
    missing = [] if chosen else [prefix]
    for names, run in chosen.items():
        wanted = [name for name in names if name.startswith(prefix)]
        print(f"bench: {', '.join(wanted)}", file=sys.stderr, flush=True)
        found = {result.name: result for result in run()}
        for name in wanted:
            if name in found:
                print(found[name].line(), flush=True)
            else:
                missing.append(name)
    if missing:
        sys.exit(f"bench: nothing was measured for {', '.join(missing)}")


if __name__ == "__main__":
    main()
