"""How well `packed` packs: recorded traces, against what no packing can beat and what others reached."""

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from events.values import Resources
from tests.bench import traces
from tests.bench.result import Result, spread

SHAPES = {
    "64c": Resources(vcpus=64, memory_mib=256 * 1024),
    "48c": Resources(vcpus=48, memory_mib=128 * 1024),
}
AIMS = {
    "64c": {"peak": 1.008, "avg": 1.09, "rejects": 0.04},
    "48c": {"peak": 1.04, "avg": 1.10, "rejects": 0.13},
}
UNITS = {"peak": "ratio", "avg": "ratio", "rejects": "%"}
AZURE_SOURCE = "Azure Public Dataset V1, CC-BY-4.0, as processed in huaweicloud/trace_generation_rnn@fa856db"
ALIBABA = "scheduler.quality.alibaba.gpu_pct"
ALIBABA_SOURCE = (
    "hkust-adsl/kubernetes-scheduler-simulator@8f3d641 (Alibaba cluster-trace-gpu-v2023), Apache-2.0"
)
SEEDS = 10
ASKED_RATIO = 1.3
GPU_AIM_PCT = 95.4
"""What Weng et al. (USENIX ATC 2023) reach with fragmentation gradient descent; best fit: 93.1."""


def azure_names(shape: str) -> tuple[str, ...]:
    """Name what `azure` measures."""
    return tuple(f"scheduler.quality.azure.{shape}.{what}" for what in UNITS)


def azure(shape: str) -> Callable[[], Sequence[Result]]:
    """Give the measurement for hosts of one shape."""
    return lambda: _azure(shape)


def _azure(shape: str) -> Sequence[Result]:
    path = traces.folder() / traces.AZURE
    if not path.is_file():
        return [_absent(name, path) for name in azure_names(shape)]
    vms, host = traces.azure(path), SHAPES[shape]
    woken = traces.replay(vms, host, hosts=None)
    fixed = traces.replay(vms, host, hosts=woken.bound_peak)
    values = {
        "peak": woken.peak / woken.bound_peak,
        "avg": woken.ratio,
        "rejects": 100 * fixed.rejected / len(vms),
    }
    detail: dict[str, Any] = {
        "source": AZURE_SOURCE,
        "vms": len(vms),
        "host": f"{host.vcpus} vCPUs, {host.memory_mib} MiB",
        "bound_peak_hosts": woken.bound_peak,
        "peak_hosts": woken.peak,
        "rejected": fixed.rejected,
    }
    return [
        Result(name, round(values[what], 4), UNITS[what], AIMS[shape][what], detail)
        for name, what in zip(azure_names(shape), UNITS, strict=True)
    ]


def alibaba() -> Sequence[Result]:
    """Fill hosts that have GPUs, in ten orders; give the mean share of the GPUs that is given away."""
    hosts, requests = (traces.folder() / file for file in (traces.ALIBABA_HOSTS, traces.ALIBABA_REQUESTS))
    for path in (hosts, requests):
        if not path.is_file():
            return [_absent(ALIBABA, path)]
    known = traces.alibaba(hosts, requests)
    shares = [100 * traces.fill(known, seed, ASKED_RATIO) for seed in range(SEEDS)]
    detail = {"source": ALIBABA_SOURCE, "asked_ratio": ASKED_RATIO, **spread(shares)}
    return [Result(ALIBABA, round(fmean(shares), 2), "%", GPU_AIM_PCT, detail, more_is_better=True)]


def _absent(name: str, path: Path) -> Result:
    return Result(name, None, "", None, {"reason": f"no {path.name} in the folder of ROOST_TRACES"})
