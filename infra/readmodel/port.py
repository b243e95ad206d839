"""The read models as services see them: typed questions, and the projector's one way to move on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from events.ids import CommandId, HostId, Seq, VmId
from events.views import HostView, LoggedEvent, OperationView, StepView, VmView

PAGE_MAX = 1000
"""Rows that one question gives at most."""


class ReadModel(Protocol):
    """What is known. Every call raises Unavailable while PostgreSQL is away."""

    async def vm(self, vm_id: VmId) -> VmView | None:
        """Give one VM; a deleted one is still there, in phase deleted."""

    async def vms(
        self, *, name: str | None = None, after: VmId | None = None, limit: int = PAGE_MAX
    ) -> Sequence[VmView]:
        """List the VMs that are not deleted, by id from *after* on; *name* is exact."""

    async def host(self, host_id: HostId) -> HostView | None:
        """Give one host."""

    async def hosts(self, *, after: HostId | None = None, limit: int = PAGE_MAX) -> Sequence[HostView]:
        """List the hosts by id from *after* on."""

    async def operation(self, operation_id: CommandId) -> OperationView | None:
        """Give one operation."""

    async def operations(
        self, *, vm_id: VmId | None = None, before: CommandId | None = None, limit: int = PAGE_MAX
    ) -> Sequence[OperationView]:
        """List operations, the youngest first; *before* continues after that one."""

    async def steps(self, operation_id: CommandId) -> Sequence[StepView]:
        """List the events that an operation led to, in order."""

    async def history(
        self, *, vm_id: VmId | None = None, host_id: HostId | None = None, after: Seq, limit: int = PAGE_MAX
    ) -> Sequence[LoggedEvent]:
        """List the events about a VM or a host, or all, in order from *after* on."""

    async def position(self, stream: str) -> Seq:
        """Give the checkpoint of the projection of *stream*: everything up to it is in the rows."""


class Fenced(Exception):
    """Another projector moved the checkpoint: this one is not the active one any more and wrote nothing."""


@dataclass(frozen=True)
class Rows:
    """Whole rows by their key: what a batch of events reads, and what it leaves."""

    vms: dict[VmId, VmView] = field(default_factory=dict)
    hosts: dict[HostId, HostView] = field(default_factory=dict)
    operations: dict[CommandId, OperationView] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """What one batch adds in one transaction."""

    stream: str
    before: Seq
    """The checkpoint that the writer believes in; the transaction fails if it is another."""
    after: Seq
    rows: Rows
    steps: Sequence[StepView] = ()
    logged: Sequence[tuple[LoggedEvent, bytes]] = ()
    """For EVT: each event and its bytes, exactly as stored."""


class ProjectionStore(Protocol):
    """The projector's side. Raises Unavailable while PostgreSQL is away."""

    async def acquire(self) -> bool:
        """Become the one active projector, or say that another one is. Lost with the connection."""

    async def position(self, stream: str) -> Seq:
        """Give the checkpoint of *stream*."""

    async def load(self, wanted: Rows) -> Rows:
        """Give those rows that exist, of the keys in *wanted* (whose values do not matter)."""

    async def advance(self, step: Step) -> None:
        """Write rows, steps, log and checkpoint in one transaction; raises Fenced, and then wrote nothing."""
