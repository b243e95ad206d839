"""What the host's journal holds about one VM, and how it changes with orders and with what is seen."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from events.desired import Action, ActionVerb, DesiredVm, Done
from events.facts import (
    Notice,
    PauseCause,
    StopCause,
    VmActionDone,
    VmAgentConnected,
    VmAgentGone,
    VmBooting,
    VmFact,
    VmNotResponding,
    VmPaused,
    VmResponding,
    VmResumed,
    VmRunning,
    VmStartFailed,
    VmStarting,
    VmStopped,
    VmStopping,
)
from events.ids import CommandId
from events.values import Desired, Value, VmPhase
from events.vm import phase_of_fact
from services.hostd.core.domain import Domain

RESUME_S, RESUME_S_MAX, RESUME_DOUBLINGS_MAX = 5.0, 60.0, 4
"""How long a guest that met an error stands still before it is tried again; twice as long each time."""
SOUND_S = 300.0
"""A guest that has gone on for so long since it was resumed begins anew with the shortest time."""
RUNS = {Desired.RUNNING, Desired.PAUSED}
ERRORS = {PauseCause.IO_ERROR, PauseCause.NO_SPACE}


class Begun(Value):
    """An action that takes its time."""

    token: CommandId
    at: datetime
    asked_at: datetime
    seen: bool = False
    """What was asked for has happened."""


class Run(Value):
    """What has happened in one generation of a VM on this host."""

    done: tuple[Done, ...] = ()
    disks: tuple[str, ...] = ()
    responding: bool = True
    booted_at: datetime | None = None
    up: bool = False
    """It was reported as running: when it goes on after a pause, it is running again."""
    agent: bool = False
    """What was last reported of the agent."""
    agent_at: datetime | None = None
    """When that was reported, beside the steps of the guest's life."""
    created: bool = False
    """A transient domain was about to be created: if there is none, it may have come and gone."""
    begun: Begun | None = None
    paused: PauseCause | None = None
    """What was last reported of its standing still."""
    paused_at: datetime | None = None
    resumed_at: datetime | None = None
    resumes: int = 0
    """How often it was resumed after an error, without having gone on for SOUND_S."""
    killed: StopCause | None = None
    """We ended it for this cause."""


BEGINNING = Run()


@dataclass(frozen=True)
class Entry:
    """What the host's journal holds about one VM."""

    desired: DesiredVm
    reported: VmFact | None = None
    """The last fact that was written down to be published about this generation."""
    stop_by: datetime | None = None
    """When grace ends, counted from when the stop was read."""
    asked_at: datetime | None = None
    """When the guest was last asked to shut down."""
    forced: bool = False
    """We powered it off because its grace had run out."""
    run: Run = BEGINNING

    @property
    def phase(self) -> VmPhase | None:
        """What was last reported; None before the first report of this generation."""
        return phase_of_fact(self.reported) if self.reported is not None else None

    @property
    def begins(self) -> bool:
        """Whether it shall run, and nothing of this generation was done yet."""
        return self.reported is None and self.desired.desired in RUNS

    @property
    def is_over(self) -> bool:
        """Whether its end was reported: that stays the last word on this generation."""
        return self.phase in {VmPhase.STOPPED, VmPhase.DELETED}

    @property
    def action(self) -> Action | None:
        """The first thing to be done once that has not been done."""
        done = {one.token for one in self.run.done}
        return next((action for action in self.desired.actions if action.token not in done), None)

    @property
    def would_not_pause(self) -> bool:
        """Whether the hypervisor has refused the pause that is asked for."""
        refused = {one.token for one in self.run.done if one.refused is not None}
        return any(one.verb is ActionVerb.PAUSE and one.token in refused for one in self.desired.actions)

    @property
    def resume_at(self) -> datetime | None:
        """When a guest that met an error is tried again."""
        if self.run.paused_at is None:
            return None
        doublings = min(self.run.resumes, RESUME_DOUBLINGS_MAX)
        return self.run.paused_at + timedelta(seconds=min(RESUME_S_MAX, RESUME_S * 2**doublings))


def fold(entry: Entry | None, desired: DesiredVm, now: datetime) -> Entry | None:
    """Take a new desired entry in; None where it is of a generation that is over already."""
    if entry is None or entry.desired.generation < desired.generation:
        return Entry(desired, stop_by=_stop_by(desired, now))
    if entry.desired.generation > desired.generation:
        return None
    tokens = {action.token for action in desired.actions}
    begun = entry.run.begun
    run = entry.run.model_copy(
        update={
            "done": tuple(done for done in entry.run.done if done.token in tokens),
            "begun": begun if begun is not None and begun.token in tokens else None,
        }
    )
    stop_by = _stop_by(desired, now)
    if stop_by is not None and entry.stop_by is not None:
        stop_by = min(stop_by, entry.stop_by)  # Grace does not begin anew with each word about a stop.
    return replace(entry, desired=desired, stop_by=stop_by, run=run)


def _stop_by(desired: DesiredVm, now: datetime) -> datetime | None:
    if desired.desired is not Desired.STOPPED:
        return None
    return now + timedelta(seconds=desired.grace_s)


def seen(entry: Entry, domain: Domain | None) -> Entry:
    """Take in which disks the domain of this generation has: every fact from here on names them."""
    if domain is None or domain.generation != entry.desired.generation:
        return entry
    disks = tuple(sorted({*entry.run.disks, *domain.disks}))
    return replace(entry, run=entry.run.model_copy(update={"disks": disks}))


def noted(entry: Entry, fact: VmFact, now: datetime) -> Entry:
    """Take in that *fact* was written down to be published; it speaks of the entry's generation."""
    run = entry.run
    return replace(
        entry,
        reported=fact,
        run=run.model_copy(
            update={
                "done": fact.done,
                "disks": fact.disks,
                "responding": fact.responding,
                **_changes(entry, fact, now),
            }
        ),
    )


def _changes(entry: Entry, fact: VmFact, now: datetime) -> dict[str, object]:
    run = entry.run
    match fact:
        case VmBooting():
            return {"booted_at": now}
        case VmRunning():
            return {"up": True, "agent": fact.agent}
        case VmPaused():
            sound = run.resumed_at is None or now - run.resumed_at > timedelta(seconds=SOUND_S)
            return {
                "paused": fact.cause,
                "paused_at": now,
                "resumes": 0 if sound else run.resumes,
                "up": run.up or entry.phase is VmPhase.RUNNING,  # reported before `up` was kept
            }
        case VmResumed():
            # Standing still was no time to boot in.
            return {"paused": None, "killed": None, "booted_at": run.booted_at if run.up else now}
        case VmAgentConnected():
            return {"agent": True, "agent_at": now}
        case VmAgentGone():
            return {"agent": False, "agent_at": now}
        case VmNotResponding():
            return {"responding": False}
        case VmResponding():
            return {"responding": True}
        case VmActionDone():
            return {"begun": None}
        case VmStarting() | VmStopping() | VmStopped() | VmStartFailed() | Notice():
            return {}


def creating(entry: Entry) -> Entry:
    """Take in, before it is done, that a domain is created of which nothing stays when it ends."""
    return replace(entry, run=entry.run.model_copy(update={"created": True}))


def asking(entry: Entry, now: datetime) -> Entry:
    """Take in, before it is done, that the guest is asked to shut down."""
    return replace(entry, asked_at=now)


def forcing(entry: Entry) -> Entry:
    """Take in, before it is done, that grace ran out."""
    return replace(entry, forced=True)


def resuming(entry: Entry, now: datetime) -> Entry:
    """Take in, before it is done, that a guest is resumed after an error."""
    changes = {"resumed_at": now, "paused_at": now, "resumes": entry.run.resumes + 1}
    return replace(entry, run=entry.run.model_copy(update=changes))


def rebooting(entry: Entry, action: Action, now: datetime) -> Entry:
    """Take in, before it is done, that the guest is asked to reboot."""
    begun = entry.run.begun
    at = begun.at if begun is not None and begun.token == action.token else now
    return replace(
        entry, run=entry.run.model_copy(update={"begun": Begun(token=action.token, at=at, asked_at=now)})
    )


def rebooted(entry: Entry) -> Entry:
    """Take in that the guest has rebooted: if it was asked to, it has done so."""
    begun = entry.run.begun
    if begun is None:
        return entry
    return replace(entry, run=entry.run.model_copy(update={"begun": begun.model_copy(update={"seen": True})}))


def killing(entry: Entry, cause: StopCause) -> Entry:
    """Take in, before it is done, that we end it for *cause*."""
    return replace(entry, run=entry.run.model_copy(update={"killed": cause}))
