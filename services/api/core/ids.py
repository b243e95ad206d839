"""Write ids with the prefix that tells people what they name, and read them back."""

from typing import Annotated
from uuid import UUID

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from events.ids import CommandId, HostId, VmId

VM, HOST, OPERATION = "vm_", "host_", "op_"


def show_vm(vm_id: VmId) -> str:
    """Write a VM's id."""
    return f"{VM}{vm_id}"


def show_host(host_id: HostId) -> str:
    """Write a host's id."""
    return f"{HOST}{host_id}"


def show_operation(operation_id: CommandId) -> str:
    """Write an operation's id, which is its command's."""
    return f"{OPERATION}{operation_id}"


def read_vm(text: str) -> VmId | None:
    """Read a VM's id; None when *text* is not one, exactly as it is written."""
    found = _read(VM, text)
    return None if found is None else VmId(found)


def read_host(text: str) -> HostId | None:
    """Read a host's id; None when *text* is not one, exactly as it is written."""
    found = _read(HOST, text)
    return None if found is None else HostId(found)


def read_operation(text: str) -> CommandId | None:
    """Read an operation's id; None when *text* is not one, exactly as it is written."""
    found = _read(OPERATION, text)
    return None if found is None else CommandId(found)


def _host_of(text: object) -> object:
    """Read a host's id in a body; ValueError says how to write it. An id as it is kept inside is one."""
    if isinstance(text, UUID):
        return text
    found = read_host(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f"write a host's id: {HOST} and its UUID, as GET /hosts shows it")
    return found


_AS_TEXT = WithJsonSchema({"type": "string", "description": "A host's id."})
HostIdIn = Annotated[HostId, BeforeValidator(_host_of), _AS_TEXT]
HostIdOut = Annotated[HostId, PlainSerializer(show_host), _AS_TEXT]


def _read(prefix: str, text: str) -> UUID | None:
    rest = text.removeprefix(prefix)
    try:
        found = UUID(rest)
    except ValueError:
        return None
    # UUID() also takes braces, capitals and no hyphens: one thing would have many names.
    return found if f"{prefix}{found}" == text else None
