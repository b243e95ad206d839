"""Decide what a command leads to. Every path ends the command, or leaves it pending on the VM."""

from dataclasses import replace
from typing import assert_never

from events import subjects
from events.codes import Code
from events.commands import (
    Command,
    CreateVm,
    DeleteVm,
    PauseVm,
    PowerOffVm,
    RebootVm,
    ResetVm,
    ResumeVm,
    StartVm,
    StopVm,
    UpdateVm,
    VerbCommand,
)
from events.desired import DesiredVm
from events.events import (
    ClaimReleased,
    ClaimTaken,
    CommandEnded,
    HostReleased,
    HostReserved,
    Outcome,
    VmCreated,
    VmDeleted,
    VmDesired,
    VmLiveUpdated,
    VmPlaced,
    VmReleased,
)
from events.ids import CommandId
from events.values import Desired, VmPhase
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
from services.scheduler.core.act import STOPS, act, join, stop, update
from services.scheduler.core.decision import NOTHING, Change, Decision, Scene
from services.scheduler.core.end import end, refuse
from services.scheduler.core.place import NoPlace, place
from services.scheduler.core.settle import settle


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
    guards = {**(due.guards or {}), **(decision.guards or {})}
    return Decision(due.changes + decision.changes, guards, no_host=due.no_host)


def _after(due: Decision, scene: Scene) -> Scene:
    """Show *scene* as it will be when *due* is stored; the guards still name what is stored now."""
    vm, fleet = scene.vm, scene.fleet
    for change in due.changes:
        match change.event:
            case VmReleased() | VmPlaced() | VmLiveUpdated() | CommandEnded():
                vm = replace(vm, value=change.event.vm)
            case HostReleased() | HostReserved():
                fleet = fleet.with_host(change.event.host)
            case _:
                pass  # The word to the host, which no decision reads; what a placement leaves of its groups.
    return replace(scene, vm=vm, fleet=fleet)


def _decide(command_id: CommandId, command: Command, scene: Scene) -> Decision:
    if isinstance(command, CreateVm):
        return _create(command_id, command, scene)
    return _verb(command_id, command, scene)


def _do(vm: Vm, command_id: CommandId, command: VerbCommand, scene: Scene) -> Decision:
    match command:
        case StartVm():
            return _start(vm, command_id, command, scene)
        case StopVm(grace_s=grace_s):
            return stop(vm, "stop", command_id, scene, grace_s)
        case PowerOffVm():
            return stop(vm, "power_off", command_id, scene, grace_s=0.0)
        case RebootVm(grace_s=grace_s):
            return act(vm, "reboot", command_id, scene, grace_s)
        case ResetVm():
            return act(vm, "reset", command_id, scene)
        case PauseVm():
            return act(vm, "pause", command_id, scene)
        case ResumeVm():
            return act(vm, "resume", command_id, scene)
        case UpdateVm(patch=patch):
            return update(vm, command_id, scene, patch)
        case DeleteVm(keep_disks=keep_disks):
            return _delete(vm, command_id, scene, keep_disks)
        case _:
            assert_never(command)


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


def _verb(command_id: CommandId, command: VerbCommand, scene: Scene) -> Decision:
    verb: Verb = command.VERB
    vm = scene.vm.value
    if vm is None or vm.desired is Desired.ABSENT:
        return refuse(command_id, scene, Code.NO_SUCH_VM, {"vm": f"vm_{scene.vm_id}"})
    phase = phase_of(vm, scene.fact)
    verdict = _verdict(command, vm, phase)
    if verdict is Verdict.ALREADY:
        return end(command_id, scene, Outcome.SUCCEEDED, Code.ALREADY_SO, {"phase": phase})
    if verdict is Verdict.REFUSE:
        return _wrong_phase(verb, command_id, scene, phase)
    # A stop overtakes what waits, so that leaves room for it.
    waiting = sum(verb not in STOPS or pending.verb in STOPS for pending in vm.pending)
    if waiting >= PENDING_MAX:
        facts = {"pending": waiting, "most": PENDING_MAX}
        return refuse(command_id, scene, Code.TOO_MANY_PENDING, facts)
    return _do(vm, command_id, command, scene)


def _verdict(command: VerbCommand, vm: Vm, phase: VmPhase) -> Verdict:
    """Read the table, and whether what is so already is what was asked for."""
    verdict = VERB_TABLE[command.VERB][phase]
    if verdict is not Verdict.ALREADY:
        return verdict
    match command:
        case PauseVm() if vm.desired is not Desired.PAUSED:
            return Verdict.DO  # It stands still for another reason, or is about to go on.
        case ResumeVm() if vm.desired is Desired.PAUSED:
            return Verdict.DO  # It is about to be paused.
        case StartVm(paused=paused, once=once) if paused or once not in {None, vm.once}:
            return Verdict.REFUSE  # It runs, but not so.
        case _:
            return verdict


def _wrong_phase(verb: Verb, command_id: CommandId, scene: Scene, phase: VmPhase) -> Decision:
    allowed = ", ".join(allowed_verbs(phase)) or "nothing but waiting"
    return refuse(command_id, scene, Code.WRONG_PHASE, {"verb": verb, "phase": phase, "allowed": allowed})


def _start(vm: Vm, command_id: CommandId, command: StartVm, scene: Scene) -> Decision:
    desired = Desired.PAUSED if command.paused else Desired.RUNNING
    if vm.placement is not None:
        if (vm.desired, vm.once) != (desired, command.once):
            return _wrong_phase("start", command_id, scene, VmPhase.STARTING)  # another kind of start
        return join(vm, command_id, scene, "start")
    try:
        pending = PendingCommand(command_id=command_id, verb="start")
        return place(vm, scene, (pending,), desired, command.once)
    except NoPlace as err:
        return refuse(command_id, scene, err.code, err.facts)


def _delete(vm: Vm, command_id: CommandId, scene: Scene, keep_disks: bool) -> Decision:
    assert vm.placement is None, "what was seen to have stopped is released first"
    gone = vm.model_copy(update={"desired": Desired.ABSENT})
    ctl, name = subjects.vm_ctl(vm.vm_id), vm.spec.name
    claim = subjects.name_claim(name)
    released = ClaimReleased(kind=subjects.VM_NAME, value=name, owner=vm.vm_id)
    done = CommandEnded(command_id=command_id, outcome=Outcome.SUCCEEDED, vm=gone)
    return Decision(
        (
            Change(ctl, VmDeleted(vm=gone), command_id),
            Change(ctl, done, command_id),
            Change(claim, released, command_id),
            *(() if keep_disks else _remove_disks(gone, command_id)),
        ),
        {ctl: scene.vm.seq, claim: scene.name_owner.seq},
    )


def _remove_disks(vm: Vm, command_id: CommandId) -> tuple[Change, ...]:
    """Tell the host where *vm* ran last; its facts say when the files are gone, and nobody waits for that."""
    if not vm.made_disks or vm.last_host_id is None:
        return ()
    entry = DesiredVm(
        vm_id=vm.vm_id, generation=vm.generation, desired=Desired.ABSENT, spec=vm.spec, remove_disks=True
    )
    return (Change(subjects.host_desired(vm.last_host_id), VmDesired(entry=entry), command_id),)
