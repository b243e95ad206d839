"""Give a VM the right to run on a host, and write what that host shall do about it."""

from typing import Any

from events import subjects
from events.codes import Code
from events.desired import Action, DesiredVm
from events.events import HostReserved, VmDesired, VmPlaced
from events.ids import CommandId, Generation
from events.spec import RunOnce, with_fields
from events.values import Desired, Placement
from events.vm import ACTIONS, PendingCommand, Verb, Vm
from services.scheduler.core.decision import Change, Decision, HostView, Scene
from services.scheduler.core.rank import best, feasible

REFUSALS_MAX = 100
"""Hosts whose refusals are written into one event: with thousands of hosts it would be too large to read."""


class NoPlace(Exception):
    """No host can take the VM: the code and the numbers of the refusal."""

    def __init__(self, code: Code, facts: dict[str, Any]) -> None:
        super().__init__(code)
        self.code = code
        self.facts = facts


def place(vm: Vm, scene: Scene, pending: PendingCommand, desired: Desired, once: RunOnce | None) -> Decision:
    """Place *vm*, which is placed nowhere, in a new generation; raises NoPlace."""
    assert vm.placement is None, "what was seen to have stopped is released first"
    needs = vm.spec.resources
    candidates = _candidates(scene, once)
    fits, refusals = feasible(candidates, needs)
    if not fits:
        facts = {
            "considered": len(candidates),
            "vcpus": needs.vcpus,
            "memory_mib": needs.memory_mib,
            "refusals": [refusal.model_dump() for refusal in refusals[:REFUSALS_MAX]],
        }
        raise NoPlace(Code.NO_HOST_FITS, facts)
    # Its disks may be in a folder of that host's own; where they are not, another host does as well.
    at_home = (view for view in fits if vm.made_disks and view.host.host_id == vm.last_host_id)
    chosen = next(at_home, None) or best(fits, needs)
    placement = Placement(host_id=chosen.host.host_id, generation=Generation(vm.generation + 1))
    placed = vm.model_copy(
        update={
            "desired": desired,
            "generation": placement.generation,
            "placement": placement,
            "grace_s": 0.0,
            "pending": (pending,),
            "running": vm.spec,
            "reserved": needs,
            "once": once,
        }
    )
    host = chosen.host.model_copy(
        update={"allocated": chosen.host.allocated.plus(needs), "vms": chosen.host.vms + 1}
    )
    reserved = HostReserved(host=host, vm_id=vm.vm_id, resources=needs)
    event = VmPlaced(
        vm=placed, placement=placement, considered=len(candidates), refusals=refusals[:REFUSALS_MAX]
    )
    operation = pending.command_id
    return Decision(
        (
            Change(subjects.vm_ctl(vm.vm_id), event, operation),
            Change(subjects.host_ctl(host.host_id), reserved, operation),
            tell_host(placed, operation),
        ),
        {subjects.vm_ctl(vm.vm_id): scene.vm.seq, subjects.host_ctl(host.host_id): chosen.seq},
    )


def _candidates(scene: Scene, once: RunOnce | None) -> list[HostView]:
    if once is None or once.host_id is None:
        return list(scene.hosts.values())
    if once.host_id not in scene.hosts:
        raise NoPlace(Code.NO_SUCH_HOST, {"host": f"host_{once.host_id}"})
    return [scene.hosts[once.host_id]]


def tell_host(vm: Vm, operation: CommandId | None) -> Change:
    """Write what the placed host of *vm* shall do about it: its whole entry."""
    assert vm.placement is not None, "only a placed VM has a host to be told"
    fields = [name for pending in vm.pending for name in pending.fields]
    entry = DesiredVm(
        vm_id=vm.vm_id,
        generation=vm.placement.generation,
        desired=vm.desired,
        spec=with_fields(vm.running or vm.spec, vm.spec, fields),
        grace_s=vm.grace_s,
        once=vm.once,
        actions=tuple(
            Action(
                token=pending.command_id,
                verb=ACTIONS[pending.verb],
                grace_s=pending.grace_s,
                fields=pending.fields,
            )
            for pending in vm.pending
            if is_action(pending)
        ),
        made_disks=vm.made_disks,
    )
    return Change(subjects.host_desired(vm.placement.host_id), VmDesired(entry=entry), operation)


def is_action(pending: PendingCommand) -> bool:
    """Tell whether the host does it once, and says so by its token."""
    verb: Verb = pending.verb
    return verb in ACTIONS and not pending.cold
