"""What a host is made of. A host says all of it in one event; each list is bounded, and so is that event."""

from typing import Annotated

from pydantic import Field, StringConstraints

from events.values import Resources, Value

Label = Annotated[str, StringConstraints(max_length=253)]
Path = Annotated[str, StringConstraints(max_length=4096)]
LABEL_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(=[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$"
HostLabel = Annotated[str, StringConstraints(pattern=LABEL_PATTERN)]
"""A word that an operator puts on hosts, such as `ssd`, or one with a value, such as `rack=a`."""

FEATURES_MAX = 512
NUMA_NODES_MAX = 64
PAGE_SIZES_MAX = 8
STORAGES_MAX = 64
NETWORKS_MAX = 128
FOREIGN_MAX = 64
LABELS_MAX = 64
NO_RESOURCES = Resources(vcpus=0, memory_mib=0)


class Processor(Value):
    """The processors, as the hypervisor names them."""

    arch: Label = ""
    model: Label = ""
    vendor: Label = ""
    features: tuple[Label, ...] = Field(default=(), max_length=FEATURES_MAX)
    """What it has beyond its model."""
    sockets: int = Field(default=0, ge=0)
    cores: int = Field(default=0, ge=0)
    """Of one socket."""
    threads: int = Field(default=0, ge=0)
    """Of one core."""


class NumaNode(Value):
    """Processors with memory of their own."""

    node: int = Field(ge=0)
    cpus: Path
    """As the kernel writes them: `0-3,8`."""
    memory_mib: int = Field(ge=0)


class HugePages(Value):
    """The pages of one size."""

    size_kib: int = Field(ge=1)
    total: int = Field(ge=0)
    free: int = Field(ge=0)


class Storage(Value):
    """One of the folders that the daemon was given for disks."""

    name: Label
    path: Path
    total_mib: int = Field(default=0, ge=0)
    free_mib: int = Field(default=0, ge=0)
    writable: bool = False
    problem: Label | None = None
    """Why nothing is known of it: it is not there, or gave no answer in time."""


class ForeignDomain(Value):
    """A domain on this host that is not roost's."""

    uuid: Label
    name: Label
    state: Label
    vcpus: int = Field(default=0, ge=0)
    memory_mib: int = Field(default=0, ge=0)
    """The most that it may come to."""


class MachineFacts(Value):
    """All of it."""

    processor: Processor | None = None
    numa: tuple[NumaNode, ...] = Field(default=(), max_length=NUMA_NODES_MAX)
    hugepages: tuple[HugePages, ...] = Field(default=(), max_length=PAGE_SIZES_MAX)
    storages: tuple[Storage, ...] = Field(default=(), max_length=STORAGES_MAX)
    networks: tuple[Label, ...] = Field(default=(), max_length=NETWORKS_MAX)
    """The bridges that network cards can be put on."""
    foreign: tuple[ForeignDomain, ...] = Field(default=(), max_length=FOREIGN_MAX)
    """By name."""
    foreign_total: int = Field(default=0, ge=0)
    foreign_takes: Resources = NO_RESOURCES
    """What all of those that are up may come to; no VM of roost's gets it."""
    labels: tuple[HostLabel, ...] = Field(default=(), max_length=LABELS_MAX)
    """What its operator calls it, in order; VMs can be made to require or to avoid them."""
