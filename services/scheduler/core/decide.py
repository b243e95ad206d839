"""Decide what a command leads to. Every path ends the command, or leaves it pending on the VM."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, assert_never

from events import subjects
from events.codes import Code
from events.commands import Command, CreateVm, DeleteVm, StartVm, StopVm
from events.events import (
    ClaimReleased,
    ClaimTaken,
    CommandEnded,
    CommandJoined,
    HostReleased,
    HostReserved,
    Outcome,
    VmCreated,
    VmDeleted,
    VmDesired,
    VmPlaced,
    VmReleased,
    VmStopRequested,
)
from events.ids import CommandId, Generation, Seq
from events.values import Desired, DesiredVm, Placement
from events.vm import (
    PENDING_MAX,
    VERB_TABLE,
    PendingCommand,
    Verb,
    Verdict,
    Vm,
    allowed_verbs,
    phase_of,
)
from services.scheduler.core.decision import NOTHING, Change, Decision, Scene
from services.scheduler.core.rank import best, feasible
from services.scheduler.core.settle import settle

REFUSALS_MAX = 100
"""Hosts whose refusals are written into one event: with thousands of hosts it would be too large to read."""


def decide(command_id: CommandId, command: Command, scene: Scene) -> Decision:
    """Say what happens when *command* arrives; NOTHING when it was decided before.

    What the host has reported already comes first, in the same batch: else a start could place a VM anew
    whose stopped placement still holds its reservation.
    """
    vm = scene.vm.value
    if vm is not None and any(pending.command_id == command_id for pending in vm.pending):
        return NOTHING
    due = settle(scene)
    if due is NOTHING:
        return _decide(command_id, command, scene)
    decision = _decide(command_id, command, _after(due, scene))
    return Decision(due.changes + decision.changes, {**(due.guards or {}), **(decision.guards or {})})


def _after(due: Decision, scene: Scene) -> Scene:
    """Show *scene* as it will be when *due* is stored; the guards still name what is stored now."""
    vm, hosts = scene.vm, dict(scene.hosts)
    for change in due.changes:
        match change.event:
            case VmReleased() | CommandEnded():
                vm = replace(vm, value=change.event.vm)
            case HostReleased():
                host = change.event.host
                hosts[host.host_id] = replace(hosts[host.host_id], host=host)
            case _:
                pass  # The word to the host: no decision reads it.
    return replace(scene, vm=vm, hosts=hosts)


def _decide(command_id: CommandId, command: Command, scene: Scene) -> Decision:
    match command:
        case CreateVm():
            return _create(command_id, command, scene)
        case StartVm():
            return _verb("start", command_id, scene, _start)
        case StopVm(grace_s=grace_s):
            return _verb("stop", command_id, scene, lambda vm, id_, at: _stop(vm, id_, at, grace_s))
        case DeleteVm():
            return _verb("delete", command_id, scene, _delete)
        case _:
            assert_never(command)


def refuse(command_id: CommandId, scene: Scene, code: Code, facts: dict[str, Any]) -> Decision:
    """End the command in failure, with the VM's state unchanged."""
    return _end(command_id, scene, Outcome.FAILED, code, facts)


def _create(command_id: CommandId, command: CreateVm, scene: Scene) -> Decision:
    if scene.vm.value is not None:
        return NOTHING  # The VM's id is made from the command's: this very command made it, and ended.
    name = command.spec.name
    owner = scene.name_owner
    if owner.value is not None:
        return refuse(command_id, scene, Code.NAME_TAKEN, {"name": name, "owner": f"vm_{owner.value}"})
    vm = Vm(vm_id=command.vm_id, spec=command.spec, desired=Desired.STOPPED)
    claim = subjects.name_claim(name)
    taken = ClaimTaken(kind=subjects.VM_NAME, value=name, owner=command.vm_id)
    ended = CommandEnded(command_id=command_id, outcome=Outcome.SUCCEEDED, vm=vm)
    return Decision(
        (
            Change(claim, taken, command_id),
            Change(subjects.vm_ctl(vm.vm_id), VmCreated(vm=vm), command_id),
            Change(subjects.vm_ctl(vm.vm_id), ended, command_id),
        ),
        {claim: owner.seq, subjects.vm_ctl(vm.vm_id): scene.vm.seq},
    )


def _verb(
    verb: Verb,
    command_id: CommandId,
    scene: Scene,
    do: Callable[[Vm, CommandId, Scene], Decision],
) -> Decision:
    vm = scene.vm.value
    if vm is None or vm.desired is Desired.ABSENT:
        return refuse(command_id, scene, Code.NO_SUCH_VM, {"vm": f"vm_{scene.vm_id}"})
    phase = phase_of(vm, scene.fact)
    verdict = VERB_TABLE[verb][phase]
    if verdict is Verdict.ALREADY:
        return _end(command_id, scene, Outcome.SUCCEEDED, Code.ALREADY_SO, {"phase": phase})
    if verdict is Verdict.REFUSE:
        allowed = ", ".join(allowed_verbs(phase)) or "nothing but waiting"
        return refuse(command_id, scene, Code.WRONG_PHASE, {"verb": verb, "phase": phase, "allowed": allowed})
    # A stop overtakes the starts that wait, so these leave room for it.
    waiting = sum(verb == "start" or pending.verb == "stop" for pending in vm.pending)
    if waiting >= PENDING_MAX:
        facts = {"pending": waiting, "most": PENDING_MAX}
        return refuse(command_id, scene, Code.TOO_MANY_PENDING, facts)
    if verdict is Verdict.JOIN and verb == "start":
        return _join(vm, command_id, scene, "start")
    return do(vm, command_id, scene)


def _start(vm: Vm, command_id: CommandId, scene: Scene) -> Decision:
    assert vm.placement is None, "what was seen to have stopped is released first"
    needs = vm.spec.resources
    fits, refusals = feasible(scene.hosts.values(), needs)
    if not fits:
        facts = {
            "considered": len(scene.hosts),
            "vcpus": needs.vcpus,
            "memory_mib": needs.memory_mib,
            "refusals": [refusal.model_dump() for refusal in refusals[:REFUSALS_MAX]],
        }
        return refuse(command_id, scene, Code.NO_HOST_FITS, facts)
    chosen = best(fits, needs)
    placement = Placement(host_id=chosen.host.host_id, generation=Generation(vm.generation + 1))
    placed = vm.model_copy(
        update={
            "desired": Desired.RUNNING,
            "generation": placement.generation,
            "placement": placement,
            "grace_s": 0.0,
            "pending": (PendingCommand(command_id=command_id, verb="start"),),
        }
    )
    host = chosen.host.model_copy(
        update={"allocated": chosen.host.allocated.plus(needs), "vms": chosen.host.vms + 1}
    )
    reserved = HostReserved(host=host, vm_id=vm.vm_id, resources=needs)
    event = VmPlaced(
        vm=placed, placement=placement, considered=len(scene.hosts), refusals=refusals[:REFUSALS_MAX]
    )
    return Decision(
        (
            Change(subjects.vm_ctl(vm.vm_id), event, command_id),
            Change(subjects.host_ctl(host.host_id), reserved, command_id),
            Change(subjects.host_desired(host.host_id), desired_entry(placed, placement), command_id),
        ),
        {subjects.vm_ctl(vm.vm_id): scene.vm.seq, subjects.host_ctl(host.host_id): chosen.seq},
    )


def _stop(vm: Vm, command_id: CommandId, scene: Scene, grace_s: float) -> Decision:
    assert vm.placement is not None, "a VM that runs somewhere is placed there"
    if vm.desired is Desired.STOPPED and grace_s >= vm.grace_s:
        return _join(vm, command_id, scene, "stop")
    stopping = vm.model_copy(
        update={
            "desired": Desired.STOPPED,
            "grace_s": grace_s,
            "pending": (
                *(pending for pending in vm.pending if pending.verb == "stop"),
                PendingCommand(command_id=command_id, verb="stop"),
            ),
        }
    )
    ctl = subjects.vm_ctl(vm.vm_id)
    overtaken = tuple(
        Change(ctl, _superseded(pending, command_id, stopping), pending.command_id)
        for pending in vm.pending
        if pending.verb == "start"
    )
    desired = subjects.host_desired(vm.placement.host_id)
    return Decision(
        (
            Change(ctl, VmStopRequested(vm=stopping), command_id),
            *overtaken,
            Change(desired, desired_entry(stopping, vm.placement), command_id),
        ),
        {ctl: scene.vm.seq},
    )


def _delete(vm: Vm, command_id: CommandId, scene: Scene) -> Decision:
    assert vm.placement is None, "what was seen to have stopped is released first"
    gone = vm.model_copy(update={"desired": Desired.ABSENT})
    ctl, name = subjects.vm_ctl(vm.vm_id), vm.spec.name
    claim = subjects.name_claim(name)
    released = ClaimReleased(kind=subjects.VM_NAME, value=name, owner=vm.vm_id)
    ended = CommandEnded(command_id=command_id, outcome=Outcome.SUCCEEDED, vm=gone)
    return Decision(
        (
            Change(ctl, VmDeleted(vm=gone), command_id),
            Change(ctl, ended, command_id),
            Change(claim, released, command_id),
        ),
        {ctl: scene.vm.seq, claim: scene.name_owner.seq},
    )


def _join(vm: Vm, command_id: CommandId, scene: Scene, verb: Verb) -> Decision:
    assert verb != "delete", "a delete never waits"
    waiting = (*vm.pending, PendingCommand(command_id=command_id, verb=verb))
    joined = CommandJoined(command_id=command_id, vm=vm.model_copy(update={"pending": waiting}))
    ctl = subjects.vm_ctl(vm.vm_id)
    return Decision((Change(ctl, joined, command_id),), {ctl: scene.vm.seq})


def _end(
    command_id: CommandId, scene: Scene, outcome: Outcome, code: Code, facts: dict[str, Any]
) -> Decision:
    ended = CommandEnded(command_id=command_id, outcome=outcome, code=code, facts=facts, vm=scene.vm.value)
    ctl = subjects.vm_ctl(scene.vm_id)
    return Decision((Change(ctl, ended, command_id),), {ctl: Seq(scene.vm.seq)})


def _superseded(pending: PendingCommand, by: CommandId, vm: Vm) -> CommandEnded:
    return CommandEnded(
        command_id=pending.command_id,
        outcome=Outcome.FAILED,
        code=Code.SUPERSEDED,
        facts={"verb": pending.verb, "by": f"op_{by}"},
        vm=vm,
    )


def desired_entry(vm: Vm, placement: Placement) -> VmDesired:
    """Write what the placed host shall do about *vm*: its whole entry."""
    return VmDesired(
        entry=DesiredVm(
            vm_id=vm.vm_id,
            generation=placement.generation,
            desired=vm.desired,
            spec=vm.spec,
            grace_s=vm.grace_s,
        )
    )
