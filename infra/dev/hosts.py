"""Decide which hosts `roost dev` runs: real libvirt hosts in a lab, or simulated ones."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from uuid import UUID

from events.ids import HostId, simulated_host_id
from infra.lab.probe import Missing, missing
from infra.runtime.errors import ConfigInvalid
from infra.runtime.ids import time_ordered_id

Hypervisor = Literal["auto", "libvirt", "sim"]


@dataclass(frozen=True)
class DevHost:
    """One host's name and identity, the same in every run on the same data."""

    name: str
    host_id: HostId


@dataclass(frozen=True)
class Choice:
    """What kind of hosts it will be, and why not the real ones."""

    real: bool
    lacks: tuple[Missing, ...] = ()


def choose(wanted: Hypervisor) -> Choice:
    """Say whether real hosts are possible; raises ConfigInvalid where they were asked for and are not."""
    if wanted == "sim":
        return Choice(real=False)
    lacks = missing()
    if lacks and wanted == "libvirt":
        reasons = "\n".join(f"  {lack.what}; try: {lack.hint}" for lack in lacks)
        raise ConfigInvalid(f"real hosts cannot run on this machine:\n{reasons}")
    return Choice(real=not lacks, lacks=lacks)


def simulated_hosts(count: int) -> tuple[DevHost, ...]:
    """Name the simulated hosts."""
    return tuple(DevHost(f"sim-{n}", simulated_host_id(n)) for n in range(1, count + 1))


def real_hosts(folder: Path, count: int) -> tuple[DevHost, ...]:
    """Name the lab's hosts, with ids that are drawn once and kept in *folder*."""
    book = folder / "hosts.json"
    ids: dict[str, str] = json.loads(book.read_text()) if book.exists() else {}
    names = [f"host-{n}" for n in range(1, count + 1)]
    for name in names:
        ids.setdefault(name, str(time_ordered_id()))
    book.write_text(json.dumps(ids, indent=1))
    return tuple(DevHost(name, HostId(UUID(ids[name]))) for name in names)
