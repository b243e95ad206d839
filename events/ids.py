"""Give each identity its own type, so that a host can never be passed where a VM is meant."""

from typing import NewType
from uuid import UUID, uuid5

VmId = NewType("VmId", UUID)
HostId = NewType("HostId", UUID)
CommandId = NewType("CommandId", UUID)
EventId = NewType("EventId", UUID)

Seq = NewType("Seq", int)
"""A position in one stream. 0 is before the first message."""

BEGINNING = Seq(0)
"""The position before everything; as a guard: nothing may be there yet."""

Generation = NewType("Generation", int)
"""How often a VM has been placed. Each placement raises it by one, nothing else does."""

NAMESPACE = UUID("6f0a55f2-6a3c-5d0e-9a51-0d5f6f2b7c11")
"""The root of every id that is derived rather than drawn."""


def command_id(principal: str, idempotency_key: str) -> CommandId:
    """Derive the one command that *principal* can mean by *idempotency_key*."""
    return CommandId(uuid5(NAMESPACE, f"command\0{principal}\0{idempotency_key}"))


def simulated_host_id(number: int) -> HostId:
    """Name the *number*th simulated host: the same in every run, so that it finds its own journal."""
    return HostId(uuid5(NAMESPACE, f"simulated-host\0{number}"))


def new_vm_id(command: CommandId) -> VmId:
    """Derive the id of the VM that a create command makes: the same for every retry of it."""
    return VmId(uuid5(NAMESPACE, f"vm\0{command}"))
