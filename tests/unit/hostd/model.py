"""A hypervisor of one VM as pure values: each step is applied, and what must not be is refused."""

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from events.desired import ActionVerb
from events.effective import Effective
from events.facts import PauseCause, StopCause, VmFact, VmResponding
from events.ids import CommandId
from events.spec import ErrorPolicy
from events.values import Desired
from services.hostd.core import saying
from services.hostd.core.domain import Domain, DomainState
from services.hostd.core.entry import (
    ERRORS,
    Entry,
    asking,
    forcing,
    killing,
    noted,
    rebooted,
    rebooting,
    resuming,
)
from services.hostd.core.reconcile import (
    Act,
    AskReboot,
    AskShutdown,
    Finish,
    Forget,
    Idle,
    Next,
    Pause,
    PowerOff,
    ProbeAgent,
    ProbeMonitor,
    RemoveDisks,
    Report,
    Resume,
    Start,
    Undefine,
    Wait,
    reconcile,
)
from tests.support.builders import HOST, NOON

STEPS_MAX = 80
EFFECTIVE = Effective(
    machine="m",
    cpu="c",
    clock="utc",
    vcpus=1,
    vcpus_max=1,
    memory_mib=64,
    boot="b",
    video="none",
    graphics="none",
    rng="none",
    balloon="none",
    agent_channel="none",
    serial_log="none",
)


@dataclass
class Machine:
    """One VM's entry and domain; the guest *boots* to its agent, *obeys* what it is asked, or does not."""

    entry: Entry
    domain: Domain | None
    obeys: bool
    boots: bool
    errors: int = 0
    """How often a guest that was resumed after an error meets the next one."""
    now: datetime = NOON
    starts: int = 0
    acted: Counter[CommandId] = field(default_factory=Counter)
    """How often each action was done to the guest."""
    finished: Counter[CommandId] = field(default_factory=Counter)
    """How often each action was said to be over."""
    said: list[VmFact] = field(default_factory=list)

    @property
    def wanted(self) -> Desired:
        """What the entry says."""
        return self.entry.desired.desired

    @property
    def active(self) -> bool:
        """Whether QEMU runs."""
        return self.domain is not None and self.domain.state is DomainState.ACTIVE

    @property
    def has_right(self) -> bool:
        """Whether what is there runs in the entry's own generation, and shall."""
        own = self.domain is not None and self.domain.generation == self.entry.desired.generation
        return own and self.wanted in {Desired.RUNNING, Desired.PAUSED}

    def settle(self, most: int = STEPS_MAX) -> None:
        """Step until there is nothing to do; with *most* steps left to the limit it must be so."""
        for _ in range(most):
            step = reconcile(HOST, self.entry, self.domain, self.now)
            self.apply(step)
            if isinstance(step, Idle | Forget):
                return
        assert most < STEPS_MAX, f"no end after {most} steps: {self}"

    def apply(self, step: Next) -> None:
        """Do what *step* says."""
        entry, domain = self.entry, self.domain
        match step:
            case Report(fact=seen):
                self._say(seen)
            case Start():
                self._start()
            case AskShutdown():
                self.entry = asking(entry, self.now)
                if self.obeys and domain is not None and domain.paused is None:
                    self._end(StopCause.GUEST)
            case PowerOff(forced=forced, cause=cause):
                self._power_off(forced=forced, cause=cause)
            case Pause():
                assert self.wanted is Desired.PAUSED, "paused, and nobody asked for it"
                self._stand_still(PauseCause.USER)
            case Resume(again=again):
                self._resume(again=again)
            case Act(action=action):
                assert entry.action == action, "done out of turn"
                self.acted[action.token] += 1
                if action.verb is ActionVerb.RESUME and domain is not None:
                    self.domain = replace(domain, paused=None)
                self._say(saying.action_done(HOST, entry, action, None))
            case AskReboot(action=action):
                self.entry = rebooting(entry, action, self.now)
                if self.obeys:
                    self.acted[action.token] += 1
                    self.entry = rebooted(self.entry)
            case Finish(action=action, refused=refused):
                self._say(saying.action_done(HOST, entry, action, refused))
            case RemoveDisks():
                assert domain is None, "removed the disks of a domain that is there"
                self._say(saying.disks_removed(HOST, entry, ()))
            case Undefine() | Forget():
                assert not self.active, "removed what runs"
                self.domain = None
            case ProbeAgent():
                self._say(saying.running(HOST, entry, agent=True))
            case ProbeMonitor():
                self._say(saying.notice(VmResponding, HOST, entry, responding=True))
            case Wait(seconds=seconds):
                assert seconds > 0, "waited for nothing"
                self.now += timedelta(seconds=seconds)
                if domain is not None and domain.paused is PauseCause.OTHER:
                    self.domain = replace(domain, paused=None)
            case Idle():
                pass

    def _say(self, fact: VmFact) -> None:
        before = {one.token for one in self.entry.run.done}
        self.finished.update(one.token for one in fact.done if one.token not in before)
        shall_run = self.wanted in {Desired.RUNNING, Desired.PAUSED}
        assert not (shall_run and self.entry.is_over), f"{fact.TYPE} after the end"
        self.said.append(fact)
        self.entry = noted(self.entry, fact, self.now)

    def _start(self) -> None:
        desired = self.entry.desired
        assert self.wanted in {Desired.RUNNING, Desired.PAUSED}, "started without a right"
        if not self.active:
            self.starts += 1
            paused = PauseCause.USER if self.wanted is Desired.PAUSED else None
            self.domain = Domain(
                desired.vm_id, desired.generation, DomainState.ACTIVE, agent=self.boots, paused=paused
            )
        assert self.domain is not None
        assert self.domain.generation == desired.generation, "adopted what has no right"
        self._say(saying.booting(HOST, self.entry, EFFECTIVE, ()))

    def _power_off(self, *, forced: bool, cause: StopCause | None) -> None:
        killed = cause is StopCause.IO_ERROR
        if killed:
            assert self.entry.desired.spec.on_io_error is ErrorPolicy.KILL
            assert self.domain is not None
            assert self.domain.paused in ERRORS
            self.entry = killing(self.entry, StopCause.IO_ERROR)
        assert killed or not self.has_right, "ended what has the right to run"
        assert forced == (self.wanted is Desired.STOPPED), "forced is what grace had run out for"
        if forced:
            assert self.entry.stop_by is None or self.now >= self.entry.stop_by, "its grace was not over"
            self.entry = forcing(self.entry)
        self._end(StopCause.POWERED_OFF)

    def _resume(self, *, again: bool) -> None:
        to_hear = self.wanted is Desired.STOPPED and self.domain is not None and not again
        assert self.wanted is Desired.RUNNING or to_hear, "resumed, and it shall not run"
        assert self.domain is not None
        if again:
            assert self.domain.paused in ERRORS
            assert self.entry.resume_at is None or self.now >= self.entry.resume_at, "too soon"
            self.entry = resuming(self.entry, self.now)
        if again and self.errors > 0:
            self.errors -= 1  # It met the next one before anybody looked.
            return
        self.domain = replace(self.domain, paused=None)

    def _stand_still(self, cause: PauseCause) -> None:
        assert self.domain is not None
        self.domain = replace(self.domain, paused=cause)

    def _end(self, cause: StopCause) -> None:
        assert self.domain is not None
        self.domain = replace(self.domain, state=DomainState.OFF, agent=False, cause=cause, paused=None)
