"""Decide the verbs on a VM that is placed: stop, reboot, reset, pause, resume, update."""

from collections.abc import Iterable

from pydantic import ValidationError

from events import subjects
from events.codes import Code
from events.events import (
    CommandEnded,
    CommandJoined,
    Outcome,
    VmActionRequested,
    VmStopRequested,
    VmUpdated,
)
from events.ids import CommandId
from events.spec import (
    IMAGE_DISK,
    MADE_DISKS_MAX,
    Disk,
    VmSpec,
    changed_fields,
    live_fields,
    merged,
)
from events.values import Desired
from events.vm import UP, PendingCommand, Verb, Vm, pending_changes, phase_of, reserved_by
from services.scheduler.core.decision import Change, Decision, Scene
from services.scheduler.core.end import ended, refuse
from services.scheduler.core.place import lacks, tell_host

STOPS: frozenset[Verb] = frozenset({"stop", "power_off"})


def stop(vm: Vm, verb: Verb, command_id: CommandId, scene: Scene, grace_s: float) -> Decision:
    """Have *vm* stop, whatever else was asked of it; a stop that allows less time overtakes a longer one."""
    restarts = any(pending.cold for pending in vm.pending)
    if vm.desired is Desired.STOPPED and grace_s >= vm.grace_s and not restarts:
        return join(vm, command_id, scene, verb)
    kept = (pending for pending in vm.pending if pending.verb in STOPS or pending.verb == "update")
    pending = PendingCommand(command_id=command_id, verb=verb)
    stopping = vm.model_copy(
        update={
            "desired": Desired.STOPPED,
            "grace_s": min(grace_s, vm.grace_s) if vm.desired is Desired.STOPPED else grace_s,
            "pending": (*kept, pending),
        }
    )
    return _ask(vm, stopping, scene, command_id, VmStopRequested(vm=stopping))


def act(vm: Vm, verb: Verb, command_id: CommandId, scene: Scene, grace_s: float = 0.0) -> Decision:
    """Have the host do *verb* once, and hold the guest paused where it shall be."""
    if verb == "reboot" and _waiting_fields(vm):
        return _restart(vm, command_id, scene, grace_s)
    pending = PendingCommand(command_id=command_id, verb=verb, grace_s=grace_s)
    overtaken = {"pause": "resume", "resume": "pause", "reset": "reboot"}.get(verb)
    kept = (one for one in vm.pending if one.verb != overtaken)
    desired = {"pause": Desired.PAUSED, "resume": Desired.RUNNING}.get(verb, vm.desired)
    acting = vm.model_copy(update={"desired": desired, "pending": (*kept, pending)})
    assert verb in {"pause", "resume", "reboot", "reset"}
    return _ask(vm, acting, scene, command_id, VmActionRequested(vm=acting, verb=verb))


def _waiting_fields(vm: Vm) -> set[str]:
    """Name what only another start will change: an update that is on its way to the host is none of it."""
    under_way = {name for pending in vm.pending for name in pending.fields}
    return set(pending_changes(vm)) - under_way


def _restart(vm: Vm, command_id: CommandId, scene: Scene, grace_s: float) -> Decision:
    """Stop *vm*; when it is released it is placed anew, and takes over what waits for that."""
    # Where it has disks they may be there alone: it would go down and not come back.
    lacking = lacks(vm, scene) if vm.made_disks else None
    if lacking is not None:
        return refuse(command_id, scene, Code.NO_HOST_FITS, lacking)
    pending = PendingCommand(command_id=command_id, verb="reboot", grace_s=grace_s, cold=True)
    kept = (one for one in vm.pending if one.verb == "update")
    stopping = vm.model_copy(
        update={"desired": Desired.STOPPED, "grace_s": grace_s, "pending": (*kept, pending)}
    )
    return _ask(vm, stopping, scene, command_id, VmActionRequested(vm=stopping, verb="reboot"))


def update(vm: Vm, command_id: CommandId, scene: Scene, patch: dict[str, object]) -> Decision:
    """Change what *vm* is: at once what can be changed while it runs, the rest with its next start."""
    try:
        wanted = merged(vm.spec, patch)
    except ValidationError as err:
        first = err.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "spec"
        return refuse(command_id, scene, Code.INVALID_SPEC, {"reason": f"{where}: {first['msg']}"})
    if wanted.name != vm.spec.name:
        return refuse(command_id, scene, Code.CANNOT_RENAME, {"name": vm.spec.name, "wanted": wanted.name})
    wrong = _wrong_disks(vm, wanted)
    if wrong is not None:
        return refuse(command_id, scene, Code.INVALID_SPEC, {"reason": wrong})
    changed = changed_fields(vm.spec, wanted)
    after = vm.model_copy(update={"spec": wanted, "left_out": _left_out(vm, wanted), **_as_placed(vm)})
    ctl = subjects.vm_ctl(vm.vm_id)
    # What is about to start does so as it was placed; in what is about to end there is no use in a change.
    running = after.running if phase_of(vm, scene.fact) in UP else None
    able = live_fields(running, reserved_by(vm), wanted) if running is not None else ()
    live = tuple(name for name in able if name in patch)  # what was refused before is not tried with another
    if not live:
        facts = {"changed": changed, "live": (), "pending": pending_changes(after)}
        end = CommandEnded(command_id=command_id, outcome=Outcome.SUCCEEDED, facts=facts, vm=after)
        updated = (Change(ctl, VmUpdated(vm=after, changed=changed), command_id),) if changed else ()
        return Decision((*updated, Change(ctl, end, command_id)), {ctl: scene.vm.seq})
    pending = PendingCommand(command_id=command_id, verb="update", fields=live)
    asking = after.model_copy(update={"pending": (*vm.pending, pending)})
    return _ask(vm, asking, scene, command_id, VmUpdated(vm=asking, changed=changed))


def _as_placed(vm: Vm) -> dict[str, object]:
    """Keep what it runs as and what is set aside for it, which may not be written yet: that was its spec."""
    if vm.placement is None:
        return {}
    return {"running": vm.running or vm.spec, "reserved": reserved_by(vm)}


def _wrong_disks(vm: Vm, wanted: VmSpec) -> str | None:
    """Say what is wrong with changed disks: one that was made may be left out and put back, as it was."""
    if IMAGE_DISK in vm.made_disks and wanted.image != vm.spec.image:
        return f"disk {IMAGE_DISK!r} has been made from image {vm.spec.image!r}, and is not made anew"
    known = {*vm.spec.disks, *vm.left_out}
    for disk in wanted.disks:
        if disk.name in vm.made_disks and disk not in known:
            return f"disk {disk.name!r} has been made already; a disk that is there cannot be changed so"
    ever = {*vm.made_disks, *(disk.name for disk in wanted.disks)}
    if len(ever) > MADE_DISKS_MAX:
        return f"it would have had {len(ever)} disks in all, the most is {MADE_DISKS_MAX}"
    return None


def _left_out(vm: Vm, wanted: VmSpec) -> tuple[Disk, ...]:
    """Keep what made disks were that are no part of the VM now."""
    made = {disk.name: disk for disk in (*vm.left_out, *vm.spec.disks) if disk.name in vm.made_disks}
    return tuple(disk for disk in made.values() if disk not in wanted.disks)


def join(vm: Vm, command_id: CommandId, scene: Scene, verb: Verb) -> Decision:
    """Have a command wait for what is under way already."""
    failures = max((one.failures for one in vm.pending), key=len, default=()) if verb == "start" else ()
    waiting = (*vm.pending, PendingCommand(command_id=command_id, verb=verb, failures=failures))
    joined = CommandJoined(command_id=command_id, vm=vm.model_copy(update={"pending": waiting}))
    ctl = subjects.vm_ctl(vm.vm_id)
    return Decision((Change(ctl, joined, command_id),), {ctl: scene.vm.seq})


def _ask(
    before: Vm,
    after: Vm,
    scene: Scene,
    command_id: CommandId,
    event: VmStopRequested | VmActionRequested | VmUpdated,
) -> Decision:
    """Store what *after* wants of its host, and end the commands that it overtakes."""
    ctl = subjects.vm_ctl(after.vm_id)
    overtaken = tuple(
        Change(ctl, _superseded(pending, command_id, after), pending.command_id)
        for pending in _gone(before, after.pending)
    )
    return Decision(
        (Change(ctl, event, command_id), *overtaken, tell_host(after, command_id)),
        {ctl: scene.vm.seq},
    )


def _gone(before: Vm, kept: Iterable[PendingCommand]) -> list[PendingCommand]:
    still = {pending.command_id for pending in kept}
    return [pending for pending in before.pending if pending.command_id not in still]


def _superseded(pending: PendingCommand, by: CommandId, vm: Vm) -> CommandEnded:
    facts = {"verb": pending.verb, "by": f"op_{by}"}
    return ended(pending, vm, Outcome.FAILED, Code.SUPERSEDED, facts)
