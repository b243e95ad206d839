"""A hypervisor of one VM as pure values: each step is applied, and what must not be is refused."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from events.facts import StopCause, VmRunning
from events.values import Desired
from services.hostd.core.reconcile import (
    AskShutdown,
    Domain,
    DomainState,
    Entry,
    Forget,
    Idle,
    PowerOff,
    ProbeAgent,
    Report,
    Start,
    Step,
    Undefine,
    Wait,
    fact,
    reconcile,
)
from tests.support.builders import HOST, NOON

STEPS_MAX = 40


@dataclass
class Machine:
    """One VM's entry and domain; the guest *boots* to its agent and *obeys* a shutdown, or not."""

    entry: Entry
    domain: Domain | None
    obeys: bool
    boots: bool
    now: datetime = NOON
    starts: int = 0

    @property
    def wanted(self) -> Desired:
        """What the entry says."""
        return self.entry.desired.desired

    @property
    def active(self) -> bool:
        """Whether QEMU runs."""
        return self.domain is not None and self.domain.state is DomainState.ACTIVE

    def settle(self, most: int = STEPS_MAX) -> None:
        """Step until there is nothing to do; with *most* steps left to the limit it must be so."""
        for _ in range(most):
            step = reconcile(HOST, self.entry, self.domain, self.now)
            self.apply(step)
            if isinstance(step, Idle | Forget):
                return
        assert most < STEPS_MAX, f"no end after {most} steps: {self}"

    def apply(self, step: Step) -> None:
        """Do what *step* says."""
        desired = self.entry.desired
        match step:
            case Report(fact=seen):
                self.entry = replace(self.entry, reported=seen)
            case Start():
                assert self.wanted is Desired.RUNNING, "started without a right"
                assert not self.active, "started over what runs"
                self.starts += 1
                self.domain = Domain(desired.vm_id, desired.generation, DomainState.ACTIVE, agent=self.boots)
            case AskShutdown():
                self.entry = replace(self.entry, asked_at=self.now)
                if self.obeys:
                    self._end(StopCause.GUEST)
            case PowerOff(forced=forced):
                has_right = self.domain is not None and self.domain.generation == desired.generation
                assert not (has_right and self.wanted is Desired.RUNNING), "ended what has the right to run"
                self.entry = replace(self.entry, forced=self.entry.forced or forced)
                self._end(StopCause.POWERED_OFF)
            case Undefine() | Forget():
                assert not self.active, "removed what runs"
                self.domain = None
            case ProbeAgent():
                self.entry = replace(self.entry, reported=fact(VmRunning, HOST, desired))
            case Wait(seconds=seconds):
                assert seconds > 0, "waited for nothing"
                self.now += timedelta(seconds=seconds)
            case Idle():
                pass

    def _end(self, cause: StopCause) -> None:
        assert self.domain is not None
        self.domain = replace(self.domain, state=DomainState.OFF, agent=False, cause=cause)
