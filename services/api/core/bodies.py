"""The bodies that leave. What is here is published in docs/openapi.json and only grows."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from events.codes import Code
from events.effective import Effective, StartFailure
from events.events import Refusal
from events.facts import PauseCause
from events.machine import MachineFacts
from events.spec import VmSpec
from events.values import Desired, Versions, VmPhase
from events.views import LastFailure, OperationState
from events.vm import Verb, Verdict
from events.wishes import PlacementWishes
from services.api.core.ids import HostIdOut


class _Out(BaseModel):
    model_config = ConfigDict(frozen=True)


class Fault(_Out):
    """One thing that is wrong with a request."""

    where: Literal["body", "query", "path", "header"]
    pointer: str
    """A JSON pointer into the body (RFC 6901), or the parameter's name after a slash."""
    message: str


class FailedElsewhere(_Out):
    """A host that had failed to start the VM before this one was tried."""

    host: str
    message: str


class ProblemBody(_Out):
    """Why something was refused or failed (RFC 9457); `code` is stable, the texts are for people."""

    type: str
    title: str
    status: int
    detail: str
    code: Code
    hint: str
    refusals: list[Refusal] = Field(default_factory=list)
    """For `no_host_fits`: what each host lacks; of a large fleet, some of them."""
    refused: dict[str, int] = Field(default_factory=dict)
    """For `no_host_fits`: how many hosts each filter refused."""
    failures: list[StartFailure] = Field(default_factory=list)
    """For `hypervisor_refused`: all that the host found wrong with the start, step by step."""
    elsewhere: list[FailedElsewhere] = Field(default_factory=list)
    """For `hypervisor_refused`: the hosts that were tried before, and what they said."""


class ProblemAnswer(ProblemBody):
    """A problem as the answer to a request."""

    request_id: str
    operation: str | None = None
    errors: list[Fault] = Field(default_factory=list)


class HostName(_Out):
    """Which host."""

    id: str
    name: str


class PlacementBody(PlacementWishes):
    """Where a VM may start, and where it would rather."""

    hosts: tuple[HostIdOut, ...]
    prefer_hosts: tuple[HostIdOut, ...]


class SpecBody(VmSpec):
    """All that was asked for of a VM."""

    highly_available: bool
    """Whether room is kept for it on other hosts, should its own fail."""
    placement: PlacementBody


class VmBody(_Out):
    """One VM."""

    id: str
    name: str
    phase: VmPhase
    desired: Desired
    vcpus: int
    memory_mib: int
    image: str
    host: HostName | None
    generation: int
    last_stop: str | None
    created_at: datetime
    changed_at: datetime
    allowed_verbs: list[Verb]
    spec: SpecBody
    """All that was asked for."""
    pending_changes: list[str]
    """The fields of `spec` that the running VM does not have yet: it takes them over with its next start."""
    pause_cause: PauseCause | None
    """Why it is paused."""
    responding: bool
    """False: the hypervisor gave no answer about this guest in time."""
    agent: bool
    """Whether the guest's agent has its channel open."""


class VmDetail(VmBody):
    """One VM with what its host has told of its run."""

    effective: Effective | None
    """What the hypervisor made of it; while it is stopped: of its last run. None: no run was read back."""
    last_failure: LastFailure | None
    """Why its last start failed; None once it was placed again."""


class VerbsBody(_Out):
    """What each verb means in each phase; a verb on a deleted VM is `no_such_vm`."""

    verbs: dict[Verb, dict[VmPhase, Verdict]]


class VmPage(_Out):
    """Some VMs; pass `next_cursor` as `cursor` for more."""

    items: list[VmBody]
    next_cursor: str | None


class Amount(_Out):
    """What VMs reserve, or a host has to give."""

    vcpus: int
    memory_mib: int


HostState = Literal["up", "silent", "unknown"]


class HostBody(_Out):
    """One host. `capacity` counts over-commit and the host's own reserve; cores and memory do not."""

    id: str
    name: str
    state: HostState = Field(
        description="Whether its heartbeats are heard; `unknown`: not yet, and this API process has not "
        "listened for long enough to call it `silent`."
    )
    last_heartbeat_age_s: float | None
    """None: not heard since this API process started."""
    capacity: Amount
    allocated: Amount
    free: Amount
    vms: int
    cores: int
    physical_memory_mib: int
    versions: Versions | None
    machine: MachineFacts | None
    """None until a daemon of this release has reported it."""
    reported_at: datetime | None


class HostPage(_Out):
    """Some hosts; pass `next_cursor` as `cursor` for more."""

    items: list[HostBody]
    next_cursor: str | None


class Target(_Out):
    """What an operation is about."""

    kind: Literal["vm"] = "vm"
    id: str


class StepBody(_Out):
    """One event that an operation led to."""

    seq: int
    type: str
    subject: str
    time: datetime


class OperationBody(_Out):
    """One accepted command: how far it is, and how it ended."""

    id: str
    verb: str
    target: Target
    state: OperationState
    requested_by: str
    accepted_at: datetime | None
    ended_at: datetime | None
    seq: int
    note: str | None
    """Set when it succeeded with nothing to do."""
    error: ProblemBody | None
    """Set when it failed."""


class OperationDetail(OperationBody):
    """One operation with its steps."""

    steps: list[StepBody]


class OperationPage(_Out):
    """Some operations, the youngest first; pass `next_cursor` as `cursor` for older ones."""

    items: list[OperationBody]
    next_cursor: str | None


class EventBody(_Out):
    """One event of the log; `event` is its CloudEvents envelope as stored."""

    seq: int
    subject: str
    id: UUID | None
    type: str | None
    time: datetime | None
    actor: str | None
    causation: UUID | None
    correlation: UUID | None
    vm: str | None
    host: str | None
    event: dict[str, Any] | None


class EventPage(_Out):
    """Some events in order; pass `next_after` as `after` for what comes next, now or later.

    A page of large events holds fewer than `limit`; a page without any is the end for now.
    """

    items: list[EventBody]
    next_after: int


class LiveBody(_Out):
    """The process answers."""

    live: Literal[True] = True


class ReadyBody(_Out):
    """Whether everything that this process needs answers; with `verbose`, part by part."""

    ready: bool
    parts: dict[str, str] | None = None


class VersionBody(_Out):
    """What answers here."""

    name: Literal["roost"] = "roost"
    version: str
    api: Literal["v1"] = "v1"
