"""Check a start against this host before anything of it is made. All that is wrong is said at once."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from events.effective import FailureCode, StartFailure, Step
from events.spec import Graphics
from services.hostd.hypervisor.blueprint import Blueprint, failure
from services.hostd.hypervisor.disks import check_disk

SHOWN_MAX = 12
"""How many of what there is a message names."""


@dataclass(frozen=True)
class Capabilities:
    """What the hypervisor can do with one machine type here."""

    vcpus_max: int
    cpu_models: Mapping[str, bool]
    """Those that QEMU knows, and whether this host can run them."""
    graphics: frozenset[str]


@dataclass(frozen=True)
class HostView:
    """What the checks need to know of the host."""

    memory_mib: int
    capabilities: Capabilities | None
    """None: the machine type is not supported."""
    machines: Callable[[], list[str]]
    is_bridge: Callable[[str], bool]
    bridges: Callable[[], list[str]]


def check(blueprint: Blueprint, host: HostView) -> Iterator[StartFailure]:
    """Say everything that speaks against starting *blueprint* on *host*."""
    spec = blueprint.desired.spec
    if spec.memory_mib > host.memory_mib:
        said = f"memory_mib is {spec.memory_mib}, and this host has {host.memory_mib} in all; ask for less"
        yield failure(Step.VALIDATE, FailureCode.MEMORY, said)
    if host.capabilities is None:
        said = f"machine {blueprint.machine!r} is not supported here; there are {_some(host.machines())}"
        yield failure(Step.VALIDATE, FailureCode.MACHINE, said)
    else:
        yield from _check_capabilities(blueprint, host.capabilities)
    for network in sorted({nic.network for nic in blueprint.nics}):
        if not host.is_bridge(network):
            said = f"network {network!r} is no bridge of this host; there are {_some(host.bridges())}"
            yield failure(Step.VALIDATE, FailureCode.NETWORK, f"{said}; make the bridge or name another")
    for disk in blueprint.disks:
        wrong = check_disk(disk, may_make=disk.name not in blueprint.desired.made_disks)
        if wrong is not None:
            yield wrong


def _check_capabilities(blueprint: Blueprint, able: Capabilities) -> Iterator[StartFailure]:
    spec, machine = blueprint.desired.spec, blueprint.machine
    vcpus = spec.vcpus_max or spec.vcpus
    if vcpus > able.vcpus_max:
        said = f"{vcpus} vCPUs are asked for, and machine {machine!r} takes at most {able.vcpus_max} here"
        yield failure(Step.VALIDATE, FailureCode.VCPUS, f"{said}; ask for fewer or another machine")
    if spec.cpu_model is not None and not able.cpu_models.get(spec.cpu_model, False):
        known = "cannot run on this host" if spec.cpu_model in able.cpu_models else "is unknown to QEMU here"
        usable = _some(sorted(model for model, can in able.cpu_models.items() if can))
        said = f"cpu_model {spec.cpu_model!r} {known}; there are {usable}"
        yield failure(Step.VALIDATE, FailureCode.CPU_MODEL, said)
    if spec.graphics is not Graphics.NONE and spec.graphics not in able.graphics:
        said = f"graphics {spec.graphics!r} is not supported here; there are {_some(sorted(able.graphics))}"
        yield failure(Step.VALIDATE, FailureCode.GRAPHICS, said)


def _some(names: list[str]) -> str:
    """Name what there is, but no more of it than a person reads."""
    shown = ", ".join(names[:SHOWN_MAX]) or "none"
    return f"{shown} and {len(names) - SHOWN_MAX} more" if len(names) > SHOWN_MAX else shown
