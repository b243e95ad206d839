"""Give a VM the right to run on a host, and write what that host shall do about it."""

from dataclasses import dataclass, replace
from typing import Any

from events import subjects
from events.codes import Code
from events.desired import Action, DesiredVm
from events.events import GroupJoined, HostReserved, VmDesired, VmPlaced
from events.ids import CommandId, Generation, HostId, VmId
from events.spec import RunOnce, with_fields
from events.values import Desired, Placement
from events.vm import ACTIONS, PendingCommand, Verb, Vm, reserved_by
from services.scheduler.core.admission import choose, refusing
from services.scheduler.core.decision import Change, Decision, Known, Scene
from services.scheduler.core.failover import Admission
from services.scheduler.core.filters import Candidates, candidates
from services.scheduler.core.fleet import HostView, Mask
from services.scheduler.core.request import Request
from services.scheduler.core.weights import best
from services.scheduler.core.wishes import nearest

REFUSALS_MAX = 100
"""Hosts whose refusals are written into one event: with thousands of hosts it would be too large to read."""
PASSED_BY_MAX = 10
"""Hosts whose refusals are written down where another host took the VM."""


class NoPlace(Exception):
    """No host can take the VM: the code and the numbers of the refusal."""

    def __init__(self, code: Code, facts: dict[str, Any]) -> None:
        super().__init__(code)
        self.code = code
        self.facts = facts


@dataclass(frozen=True)
class _Choice:
    """The best host, of those that were found."""

    host: HostView
    found: Candidates
    exposes: str
    """A host whose failure cannot be borne any more, wherever the VM goes; empty: none."""


def place(
    vm: Vm, scene: Scene, pending: tuple[PendingCommand, ...], desired: Desired, once: RunOnce | None
) -> Decision:
    """Place *vm*, which is placed nowhere, in a new generation, for the commands that wait for it.

    Raises NoPlace.
    """
    assert vm.placement is None, "what was seen to have stopped is released first"
    tried = frozenset(failed.host_id for one in pending for failed in one.failures)
    request = _request(vm, scene, _only(scene, once), tried)
    choice = _choose(vm, scene, candidates(scene.fleet, request, scene.alive, scene.readable))
    placement = Placement(host_id=choice.host.host.host_id, generation=Generation(vm.generation + 1))
    placed = vm.model_copy(
        update={
            "desired": desired,
            "generation": placement.generation,
            "placement": placement,
            "grace_s": 0.0,
            "pending": pending,
            "running": vm.spec,
            "reserved": request.needs,
            "once": once,
        }
    )
    return _placed(placed, placement, scene, choice)


def lacks(vm: Vm, scene: Scene) -> dict[str, Any] | None:
    """Say why the host of *vm* could not take it anew once it has stopped there; None: it could.

    Its host is asked as one that answers: it is about to be told something.
    """
    view = scene.host(vm.placement.host_id) if vm.placement is not None else None
    if view is None:
        return None
    freed = view.host.model_copy(update={"allocated": view.host.allocated.minus(reserved_by(vm))})
    there = replace(scene, fleet=scene.fleet.with_host(freed))
    found = candidates(there.fleet, _request(vm, there, view.host.host_id), there.fleet.everybody)
    return None if found.fits.any() else _why(found, there)


def _request(vm: Vm, scene: Scene, only: HostId | None, tried: frozenset[HostId] = frozenset()) -> Request:
    groups = vm.spec.placement.groups
    return Request(
        spec=vm.spec,
        needs=vm.spec.needs,
        only=only,
        made_disks=frozenset(vm.made_disks),
        tried=tried,
        others=[found for wish in groups if (found := scene.groups.others(vm.vm_id, wish))],
    )


def _only(scene: Scene, once: RunOnce | None) -> HostId | None:
    if once is None or once.host_id is None:
        return None
    if scene.host(once.host_id) is None:
        raise NoPlace(Code.NO_SUCH_HOST, {"host": f"host_{once.host_id}"})
    return once.host_id


def _choose(vm: Vm, scene: Scene, found: Candidates) -> _Choice:
    """Choose the best of the hosts that were found; raises NoPlace."""
    fleet, request = scene.fleet, found.request
    wanted = [found.fits]
    if vm.made_disks and vm.last_host_id is not None:
        # Rather where it has disks: they may be in a folder of that host's own.
        wanted.insert(0, found.fits & fleet.mask([vm.last_host_id]))

    def rank(fits: Mask) -> int | None:
        if scene.avoided is not None and (fits & ~scene.avoided).any():
            fits = fits & ~scene.avoided
        return best(fleet, nearest(fleet, fits, request), request.needs, scene.policy)

    exposes = ""
    if scene.failover is None:
        row = next((row for fits in wanted if (row := rank(fits)) is not None), None)
    else:
        chosen = choose(scene.failover, fleet, wanted, rank, request)
        row = chosen.row
        if row is None and chosen.breaks and scene.failover.admission is Admission.WARN:
            row, exposed = next(iter(chosen.breaks.items()))
            exposes = fleet[exposed].host.name
        elif chosen.breaks:
            found = found.but(*refusing(fleet, chosen, found.fits))
    if row is None:
        raise NoPlace(Code.NO_HOST_FITS, _why(found, scene))
    return _Choice(fleet[row], found, exposes)


def _why(found: Candidates, scene: Scene) -> dict[str, Any]:
    needs = found.request.needs
    return {
        "considered": int(found.considered.sum()),
        "vcpus": needs.vcpus,
        "memory_mib": needs.memory_mib,
        "refused": dict(found.refused),
        "refusals": [refusal.model_dump() for refusal in found.refusals(scene.fleet, REFUSALS_MAX)],
    }


def _placed(vm: Vm, placement: Placement, scene: Scene, choice: _Choice) -> Decision:
    found, chosen = choice.found, choice.host
    needs, host_ctl = found.request.needs, subjects.host_ctl(placement.host_id)
    host = chosen.host.model_copy(
        update={"allocated": chosen.host.allocated.plus(needs), "vms": chosen.host.vms + 1}
    )
    event = VmPlaced(
        vm=vm,
        placement=placement,
        considered=int(found.considered.sum()),
        refusals=found.refusals(scene.fleet, PASSED_BY_MAX),
        refused=dict(found.refused),
        policy=scene.policy,
        exposes=choice.exposes,
    )
    reserved = HostReserved(host=host, vm_id=vm.vm_id, resources=needs)
    operation = vm.pending[0].command_id
    groups = {subjects.group_ctl(wish.name): wish.name for wish in vm.spec.placement.groups}
    joins = (
        Change(ctl, GroupJoined(group=name, vm_id=vm.vm_id, host_id=placement.host_id), operation)
        for ctl, name in groups.items()
    )
    return Decision(
        (
            Change(subjects.vm_ctl(vm.vm_id), event, operation),
            Change(host_ctl, reserved, operation),
            tell_host(vm, operation),
            *joins,
        ),
        {
            subjects.vm_ctl(vm.vm_id): scene.vm.seq,
            host_ctl: chosen.seq,
            **{ctl: scene.joined.get(name, Known[VmId]()).seq for ctl, name in groups.items()},
        },
    )


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
