"""What the read models hold and people are shown. Rows, not decisions: they may lag behind the log."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from pydantic import Field, model_validator

from events.codes import Code
from events.effective import Effective, StartFailure
from events.facts import PauseCause
from events.ids import CommandId, Generation, HostId, VmId
from events.machine import MachineFacts
from events.spec import VmSpec
from events.values import Desired, Value, Versions, VmPhase


class LastFailure(Value):
    """Why the last start failed."""

    message: str
    failures: tuple[StartFailure, ...] = ()
    log_tail: str = ""
    """The end of QEMU's own log; empty where QEMU had not been started."""


class VmView(Value):
    """One VM: what was asked for, and what was last seen of it."""

    vm_id: VmId
    name: str
    vcpus: int
    memory_mib: int
    image: str
    desired: Desired
    phase: VmPhase
    host_id: HostId | None = None
    generation: Generation = Generation(0)
    last_stop: str | None = None
    """Why it last stopped: a stop cause, or the hypervisor's words after a start that failed."""
    spec: VmSpec
    running: VmSpec | None = None
    """What it was started as, with what was changed since; None: it runs nowhere, or as `spec`."""
    pause_cause: PauseCause | None = None
    """Set while it is paused."""
    responding: bool = True
    agent: bool = False
    """Whether the guest's agent has its channel open."""
    effective: Effective | None = None
    """What the hypervisor made of the run since the last placement, kept when it has stopped."""
    last_failure: LastFailure | None = None
    """Set from a start that failed to the next placement."""
    created_at: datetime
    changed_at: datetime
    ctl_seq: int
    """The VM's last ctl event."""
    seq: int
    """The last event that changed this row."""

    @model_validator(mode="before")
    @classmethod
    def _of_an_older_release(cls, row: Any) -> Any:
        """Fill in the spec of a row whose writer knew nothing but the columns that are spelled out."""
        if isinstance(row, Mapping) and row.get("spec") is None:
            return {**row, "spec": {name: row.get(name) for name in ("name", "vcpus", "memory_mib", "image")}}
        return row


class HostView(Value):
    """One host: what it has, what is promised, and what runs it."""

    host_id: HostId
    name: str
    vcpus: int = 0
    memory_mib: int = 0
    allocated_vcpus: int = 0
    allocated_memory_mib: int = 0
    vms: int = 0
    cores: int = 0
    physical_memory_mib: int = 0
    versions: Versions | None = None
    boot_id: str = ""
    machine: MachineFacts | None = None
    reported_at: datetime | None = None
    seq: int


class OperationState(StrEnum):
    """How far an operation is. The last two are ends."""

    PENDING = "pending"
    """Accepted; nothing has been decided yet."""
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self in {OperationState.SUCCEEDED, OperationState.FAILED}


class OperationView(Value):
    """One command's life. Its id is the command's."""

    operation_id: CommandId
    verb: str
    vm_id: VmId
    state: OperationState
    requested_by: str
    accepted_at: datetime | None = None
    ended_at: datetime | None = None
    code: Code | None = None
    facts: dict[str, Any] = Field(default_factory=dict)
    seq: int = 0
    """The last event that changed this row; 0 while only the command is known."""


class StepView(Value):
    """One event that an operation led to."""

    operation_id: CommandId
    seq: int
    type: str
    subject: str
    time: datetime


class LoggedEvent(Value):
    """One event of the log, as `event_log` keeps it."""

    seq: int
    subject: str
    event_id: UUID | None
    type: str | None
    time: datetime | None
    actor: str | None
    causation_id: UUID | None
    correlation_id: UUID | None
    vm_id: VmId | None
    host_id: HostId | None
    body: dict[str, Any] | None
    """The envelope; None where the bytes are no JSON (they are kept as they are)."""


@dataclass(frozen=True)
class Keys:
    """Which rows a batch of events may change."""

    vms: frozenset[VmId] = frozenset()
    hosts: frozenset[HostId] = frozenset()
    operations: frozenset[CommandId] = frozenset()


@dataclass(frozen=True)
class Rows:
    """Whole rows by their key: what a batch of events reads, or what it leaves."""

    vms: Mapping[VmId, VmView] = field(default_factory=dict)
    hosts: Mapping[HostId, HostView] = field(default_factory=dict)
    operations: Mapping[CommandId, OperationView] = field(default_factory=dict)
