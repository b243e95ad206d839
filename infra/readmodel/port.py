"""The read models as services see them: typed questions, and the projector's one way to move on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from events.ids import CommandId, HostId, Seq, VmId
from events.views import HostView, Keys, LoggedEvent, OperationView, Rows, StepView, VmView

PAGE_MAX = 1000
"""Rows that one question gives at most."""
HISTORY_BYTES_MAX = 2 * 1024 * 1024
"""Bytes of events, as they lie in the log, that one question gives at most, unless a single one has more."""


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

    async def hosts(
        self, *, name: str | None = None, after: HostId | None = None, limit: int = PAGE_MAX
    ) -> Sequence[HostView]:
        """List the hosts by id from *after* on; *name* is exact, and several may have it."""

    async def operation(self, operation_id: CommandId) -> OperationView | None:
        """Give one operation."""

    async def operations(
        self, *, vm_id: VmId | None = None, before: CommandId | None = None, limit: int = PAGE_MAX
    ) -> Sequence[OperationView]:
        """List operations, the youngest first; *before* continues after that one.

        One whose command was not projected yet has no time of acceptance and counts as the youngest.
        """

    async def steps(self, operation_id: CommandId) -> Sequence[StepView]:
        """List the events that an operation led to, in order."""

    async def history(
        self, *, vm_id: VmId | None = None, host_id: HostId | None = None, after: Seq, limit: int = PAGE_MAX
    ) -> Sequence[LoggedEvent]:
        """List the events about a VM or a host, or all, in order from *after* on.

        Fewer than *limit* where they are large: the end is where nothing follows.
        """

    async def position(self, stream: str) -> Seq:
        """Give the checkpoint of the projection of *stream*: everything up to it is in the rows."""


class Fenced(Exception):
    """This projector is not the active one, or another one moved the checkpoint. Nothing was written."""


Fold = Callable[[Rows], tuple[Rows, Sequence[StepView]]]
"""Pure: from the rows as they are to the rows that change, and the steps to add."""


@dataclass(frozen=True)
class Turn:
    """What one batch does, in one transaction."""

    stream: str
    before: Seq
    """The checkpoint that the writer believes in; the transaction fails if it is another."""
    after: Seq
    reads: Keys
    fold: Fold
    logged: Sequence[tuple[LoggedEvent, bytes]] = ()
    """For EVT: each event and its bytes, exactly as stored."""


class ProjectionStore(Protocol):
    """The projector's side. Raises Unavailable while PostgreSQL is away."""

    async def acquire(self) -> bool:
        """Become the one active projector, or say that another one is. Lost with the connection."""

    async def release(self) -> None:
        """Let another projector become the active one."""

    async def position(self, stream: str) -> Seq:
        """Give the checkpoint of *stream*."""

    async def advance(self, turn: Turn) -> None:
        """Read rows, fold, write rows, steps, log and checkpoint in one transaction; raises Fenced.

        Turns run one after the other, whoever takes them: the two streams meet in the same operations,
        and a fold over rows that somebody else has changed since would undo that change.
        """
