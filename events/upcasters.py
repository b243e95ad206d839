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
    "host.capacity_changed": 1,
    "host.registered": 1,
    "host.released": 1,
    "host.reported": 1,
    "host.reserved": 1,
    "host.vm_desired": 1,
    "vm.booting": 1,
    "vm.create": 1,
    "vm.created": 1,
    "vm.delete": 1,
    "vm.deleted": 1,
    "vm.placed": 1,
    "vm.released": 1,
    "vm.running": 1,
    "vm.start": 1,
    "vm.start_failed": 1,
    "vm.starting": 1,
    "vm.stop": 1,
    "vm.stop_requested": 1,
    "vm.stopped": 1,
    "vm.stopping": 1,
}
"""The version that this release writes of each type."""

UPCASTERS: Mapping[tuple[str, int], Callable[[Data], Data]] = {}
"""(type, version) to the step that makes the next version of it."""
