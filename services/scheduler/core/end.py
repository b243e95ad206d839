"""End a command: once, on its VM's subject, with the VM's state as it is then."""

from typing import Any

from events import subjects
from events.codes import Code
from events.events import CommandEnded, Outcome
from events.ids import CommandId
from events.vm import PendingCommand, Vm
from services.scheduler.core.decision import Change, Decision, Scene


def refuse(command_id: CommandId, scene: Scene, code: Code, facts: dict[str, Any]) -> Decision:
    """End the command in failure, with the VM's state unchanged."""
    return end(command_id, scene, Outcome.FAILED, code, facts)


def end(command_id: CommandId, scene: Scene, outcome: Outcome, code: Code, facts: dict[str, Any]) -> Decision:
    """End the command at once, with the VM's state unchanged."""
    done = CommandEnded(command_id=command_id, outcome=outcome, code=code, facts=facts, vm=scene.vm.value)
    ctl = subjects.vm_ctl(scene.vm_id)
    return Decision((Change(ctl, done, command_id),), {ctl: scene.vm.seq})


def ended(
    pending: PendingCommand, vm: Vm, outcome: Outcome, code: Code | None, facts: dict[str, Any]
) -> CommandEnded:
    """Make the end of a command that has waited."""
    return CommandEnded(command_id=pending.command_id, outcome=outcome, code=code, facts=facts, vm=vm)
