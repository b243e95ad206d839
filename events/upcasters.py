"""Bring every released (type, version) up to the newest: one step a function, old data in, new data out.

What is in the log is never rewritten. An added optional field keeps the version; anything else raises it
and adds a step here.
"""

from collections.abc import Callable, Mapping
from typing import Any

Data = dict[str, Any]

LATEST: Mapping[str, int] = {
    "claim.released": 1,
    "claim.taken": 1,
    "command.ended": 1,
    "command.joined": 1,
    "group.joined": 1,
    "host.capacity_changed": 1,
    "host.registered": 1,
    "host.released": 1,
    "host.reported": 1,
    "host.reserved": 1,
    "host.vm_desired": 1,
    "vm.action_done": 1,
    "vm.action_requested": 1,
    "vm.agent_connected": 1,
    "vm.agent_gone": 1,
    "vm.balloon_changed": 1,
    "vm.booting": 1,
    "vm.create": 1,
    "vm.created": 1,
    "vm.delete": 1,
    "vm.deleted": 1,
    "vm.device_changed": 1,
    "vm.disks_removed": 1,
    "vm.io_error": 1,
    "vm.live_updated": 1,
    "vm.not_responding": 1,
    "vm.panicked": 1,
    "vm.pause": 1,
    "vm.paused": 1,
    "vm.placed": 1,
    "vm.power_off": 1,
    "vm.reboot": 1,
    "vm.rebooted": 1,
    "vm.released": 1,
    "vm.reset": 1,
    "vm.responding": 1,
    "vm.resume": 1,
    "vm.resumed": 1,
    "vm.running": 1,
    "vm.start": 1,
    "vm.start_failed": 1,
    "vm.starting": 1,
    "vm.stop": 1,
    "vm.stop_requested": 1,
    "vm.stopped": 1,
    "vm.stopping": 1,
    "vm.update": 1,
    "vm.updated": 1,
    "vm.watchdog_fired": 1,
}
"""The version that this release writes of each type."""

UPCASTERS: Mapping[tuple[str, int], Callable[[Data], Data]] = {}
"""(type, version) to the step that makes the next version of it."""
