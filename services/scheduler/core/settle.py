"""Decide what follows from the hosts' facts: commands end, placements end, hosts join."""

from dataclasses import dataclass, replace
from typing import Any

from events import subjects
from events.codes import Code
from events.desired import DesiredVm
from events.events import (
    CommandEnded,
    HostCapacityChanged,
    HostRegistered,
    HostReleased,
    Outcome,
    ReleaseCause,
    VmDesired,
    VmLiveUpdated,
    VmReleased,
)
from events.facts import HostReported, StopCause, VmFact, VmStartFailed, VmStopped
from events.host import Host
from events.ids import CommandId
from events.machine import NO_RESOURCES
from events.spec import IMAGE_DISK, RunOnce, changed_fields, with_fields
from events.values import Desired, Resources, VmPhase
from events.vm import (
    STARTS_MAX,
    UP,
    FailedStart,
    PendingCommand,
    Vm,
    is_current,
    pending_changes,
    phase_of_fact,
    reserved_by,
)
from services.scheduler.core.decision import NOTHING, Change, Decision, Known, Scene
from services.scheduler.core.end import ended
from services.scheduler.core.place import NoPlace, is_action, place, tell_host

OVER = {VmPhase.STOPPED, VmPhase.DELETED}


def settle(scene: Scene) -> Decision:
    """Say what the last fact about a VM leads to; NOTHING when it is too late or led there before."""
    vm, fact = scene.vm.value, scene.fact
    if vm is None or fact is None or not is_current(vm, fact):
        return NOTHING
    if phase_of_fact(fact) in OVER:
        return _released(vm, fact, scene)
    return _progressed(vm, fact, scene)


def _progressed(vm: Vm, fact: VmFact, scene: Scene) -> Decision:
    """End the commands that *fact* shows to be done."""
    over = [pending for pending in vm.pending if _is_over(pending, vm, fact)]
    if not over:
        return NOTHING
    refusals = {done.token: done.refused for done in fact.done if done.refused is not None}
    done = [pending for pending in over if pending.command_id not in refusals]
    fields = [name for pending in done for name in pending.fields]
    stands = any(pending.verb == "pause" and pending not in done for pending in over)
    after = vm.model_copy(
        update={
            "pending": tuple(pending for pending in vm.pending if pending not in over),
            "made_disks": _made_disks(vm, fact),
            "last_host_id": fact.host_id,
            "running": with_fields(vm.running, vm.spec, fields) if vm.running is not None else None,
            "desired": Desired.RUNNING if stands else vm.desired,  # it would not be paused: that is over
        }
    )
    ctl = subjects.vm_ctl(vm.vm_id)
    live = changed_fields(vm.running, after.running) if vm.running and after.running else ()
    updated = (Change(ctl, VmLiveUpdated(vm=after, changed=live), None),) if live else ()
    told = (tell_host(after, None),) if after.desired is not vm.desired else ()
    view = scene.host(fact.host_id)
    host = view.host.name if view is not None else f"host_{fact.host_id}"
    ends = (_end_of_step(pending, after, refusals.get(pending.command_id), host) for pending in over)
    ending = (Change(ctl, end, end.command_id) for end in ends)
    return Decision((*updated, *ending, *told), {ctl: scene.vm.seq})


def _is_over(pending: PendingCommand, vm: Vm, fact: VmFact) -> bool:
    phase = phase_of_fact(fact)
    if is_action(pending):
        return any(done.token == pending.command_id for done in fact.done)
    match pending.verb:
        case "start":
            return phase in UP
        case "reboot":
            return phase in UP and vm.desired is Desired.RUNNING  # a cold one that has been placed anew
        case _:
            return False  # a stop ends with the release


def _end_of_step(pending: PendingCommand, after: Vm, refused: str | None, host: str) -> CommandEnded:
    if refused is not None:
        said = {"verb": pending.verb, "message": refused, "host": host}
        return ended(pending, after, Outcome.FAILED, Code.ACTION_REFUSED, said)
    facts: dict[str, Any] = {}
    if pending.verb == "update":
        facts = {"live": pending.fields, "pending": pending_changes(after)}
    return ended(pending, after, Outcome.SUCCEEDED, None, facts)


def _made_disks(vm: Vm, fact: VmFact) -> tuple[str, ...]:
    """Take in which disks are there; what is no disk of this VM is nothing that its host can know."""
    named = {IMAGE_DISK, *(disk.name for spec in (vm.spec, vm.running or vm.spec) for disk in spec.disks)}
    return tuple(sorted({*vm.made_disks, *(name for name in fact.disks if name in named)}))


def _released(vm: Vm, fact: VmFact, scene: Scene) -> Decision:
    """End the placement; a VM that is to be started anew is placed again in the same batch."""
    assert vm.placement is not None, "a current fact speaks of a placement"
    view = scene.host(vm.placement.host_id)
    if view is None:
        return NOTHING  # Its host's last event cannot be read: nothing is decided on that.
    again = _again(vm, fact, view.host)
    over = [one for one in vm.pending if again is None or one.command_id not in again.commands]
    needs, failed = reserved_by(vm), isinstance(fact, VmStartFailed)
    after = vm.model_copy(
        update={
            "desired": Desired.STOPPED,
            "placement": None,
            "grace_s": 0.0,
            "pending": again.pending if again is not None else (),
            "running": None,
            "reserved": None,
            "once": None,
            "made_disks": _made_disks(vm, fact),
            "last_host_id": fact.host_id if fact.disks or not failed else vm.last_host_id,
        }
    )
    host = view.host.model_copy(
        update={"allocated": view.host.allocated.minus(needs), "vms": view.host.vms - 1}
    )
    operation = vm.pending[0].command_id if vm.pending else None
    cause = ReleaseCause.START_FAILED if failed else ReleaseCause.STOPPED
    gone = DesiredVm(vm_id=vm.vm_id, generation=vm.placement.generation, desired=Desired.ABSENT, spec=vm.spec)
    ctl, host_ctl = subjects.vm_ctl(vm.vm_id), subjects.host_ctl(host.host_id)
    ends = (_end_of(pending, after, fact, host) for pending in over)
    released = Decision(
        (
            Change(ctl, VmReleased(vm=after, placement=vm.placement, cause=cause), operation),
            Change(host_ctl, HostReleased(host=host, vm_id=vm.vm_id, resources=needs), operation),
            Change(subjects.host_desired(host.host_id), VmDesired(entry=gone), operation),
            *(Change(ctl, end, end.command_id) for end in ends),
        ),
        {ctl: scene.vm.seq, host_ctl: view.seq},
    )
    if again is None:
        return released
    # Its host has just spoken, whatever its heartbeats say.
    alive = scene.alive | scene.fleet.mask([host.host_id])
    free = replace(scene, fleet=scene.fleet.with_host(host), alive=alive)
    return _placed_again(released, after, again, free)


@dataclass(frozen=True)
class _Again:
    """A placement that follows at once on the one that is over."""

    pending: tuple[PendingCommand, ...]
    desired: Desired
    once: RunOnce | None
    fact: VmFact
    host: Host
    """Where it was, and what was said there last."""

    @property
    def commands(self) -> frozenset[CommandId]:
        return frozenset(one.command_id for one in self.pending)


def _again(vm: Vm, fact: VmFact, host: Host) -> _Again | None:
    """Say whether *vm* is placed anew: it was stopped to be started, or a host could not start it."""
    if vm.desired is Desired.STOPPED:
        cold = tuple(one for one in vm.pending if one.cold)
        return _Again(cold, Desired.RUNNING, None, fact, host) if cold else None
    pinned = vm.once is not None and vm.once.host_id is not None
    # Where it has disks they may be in a folder of that host's own: elsewhere it would miss them.
    if pinned or not isinstance(fact, VmStartFailed) or _made_disks(vm, fact):
        return None
    failure = FailedStart(host_id=host.host_id, host=host.name, message=fact.message)
    starts = tuple(
        one.model_copy(update={"failures": (*one.failures, failure)})
        for one in vm.pending
        if one.verb in {"start", "reboot"} and len(one.failures) + 1 < STARTS_MAX
    )
    return _Again(starts, vm.desired, vm.once, fact, host) if starts else None


def _placed_again(released: Decision, vm: Vm, again: _Again, scene: Scene) -> Decision:
    """Add the new placement to the end of the old one, or the reason why there is none."""
    try:
        placed = place(vm, scene, again.pending, again.desired, again.once)
    except NoPlace as err:
        stopped = vm.model_copy(update={"pending": ()})
        ends = (
            _end_of(one, stopped, again.fact, again.host)
            if one.failures
            else ended(one, stopped, Outcome.FAILED, err.code, err.facts)
            for one in again.pending
        )
        ending = (Change(subjects.vm_ctl(vm.vm_id), end, end.command_id) for end in ends)
        return Decision((*released.changes, *ending), released.guards, no_host=True)
    guards = {**(placed.guards or {}), **(released.guards or {})}
    return Decision((*released.changes, *placed.changes), guards)


def _end_of(pending: PendingCommand, after: Vm, fact: VmFact, host: Host) -> CommandEnded:
    match pending.verb:
        case "stop" | "power_off":
            return ended(pending, after, Outcome.SUCCEEDED, None, {})
        case "update":
            return ended(pending, after, Outcome.SUCCEEDED, None, {"live": (), "pending": ()})
        case "start" | "reboot" if isinstance(fact, VmStartFailed):
            facts = {
                "host": host.name,
                "message": fact.message,
                "failures": [failure.model_dump(mode="json") for failure in fact.failures],
                "elsewhere": [
                    failed.model_dump(mode="json")
                    for failed in pending.failures
                    if failed.host_id != host.host_id
                ],
            }
            return ended(pending, after, Outcome.FAILED, Code.HYPERVISOR_REFUSED, facts)
        case _:
            facts = {"host": host.name, "cause": _cause(fact)}
            return ended(pending, after, Outcome.FAILED, Code.GUEST_STOPPED, facts)


def _cause(fact: VmFact) -> str:
    match fact:
        case VmStopped():
            return fact.cause
        case VmStartFailed():
            return "start_failed"
        case _:
            return (
                StopCause.LOST
            )  # A notice that names the phase is the last word: how it ended is not in it.


def enlist(report: HostReported, known: Known[Host], capacity: Resources) -> Decision:
    """Say what a host's report about itself leads to: it joins, or has more or less to give."""
    host, ctl = known.value, subjects.host_ctl(report.host_id)
    guards = {ctl: known.seq}
    if host is None:
        joined = Host(host_id=report.host_id, name=report.name, capacity=capacity)
        return Decision((Change(ctl, HostRegistered(host=joined), None),), guards)
    if (host.capacity, host.name) == (capacity, report.name):
        return NOTHING
    changed = host.model_copy(update={"capacity": capacity, "name": report.name})
    return Decision((Change(ctl, HostCapacityChanged(host=changed, before=host.capacity), None),), guards)


def capacity_of(report: HostReported, vcpus_per_core: float, reserve_mib: int) -> Resources:
    """Say what a host may give: cores by the over-commit ratio, memory less the host's own reserve.

    Of both it keeps what domains take that are not ours.
    """
    theirs = report.machine.foreign_takes if report.machine is not None else NO_RESOURCES
    return Resources(
        vcpus=max(0, int(report.cores * vcpus_per_core) - theirs.vcpus),
        memory_mib=max(0, report.memory_mib - reserve_mib - theirs.memory_mib),
    )
