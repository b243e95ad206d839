"""Read rows with the patience that a projector deserves: it may be some milliseconds behind the log."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import TypeVar

from events.codes import Code
from events.ids import HostId, VmId
from events.views import HostView, OperationView, StepView, VmView
from infra.eventlog.port import EventLog
from infra.readmodel.port import ReadModel
from infra.runtime.backoff import delays_s
from services.api.core import ids
from services.api.core.problems import Problem

PATIENCE_S = 0.3
"""How long a row that is missing may still appear before it is said not to exist."""

T = TypeVar("T")


async def may_exist(reads: ReadModel, events: EventLog, vm_id: VmId) -> bool:
    """Tell whether a VM without a row may exist all the same; raises Unavailable.

    Either EVT was not projected to its end within PATIENCE_S, or an operation on the VM is known: its create
    was accepted, and whether there is such a VM is the scheduler's to say.
    """
    last = await events.last_seq()

    async def caught_up() -> bool | None:
        return await reads.position("EVT") >= last or None

    # In this order: an event up to *last* that made the VM has made a row of its operation, too.
    return not await soon(caught_up) or bool(await reads.operations(vm_id=vm_id, limit=1))


async def vm_named(reads: ReadModel, text: str) -> VmView:
    """Read the VM with the id *text*; raises Problem no_such_vm."""
    vm_id = ids.read_vm(text)
    found = None if vm_id is None else await soon(lambda: reads.vm(vm_id))
    if found is None:
        raise Problem(Code.NO_SUCH_VM, {"vm": text})
    return found


async def host_named(reads: ReadModel, text: str) -> HostView:
    """Read the host with the id *text*; raises Problem no_such_host."""
    host_id = ids.read_host(text)
    found = None if host_id is None else await reads.host(host_id)
    if found is None:
        raise Problem(Code.NO_SUCH_HOST, {"host": text})
    return found


async def host_called(reads: ReadModel, text: str) -> HostId:
    """Give the id of the host with the id or the name *text*; raises Problem no_such_host, bad_request."""
    host_id = ids.read_host(text)
    if host_id is not None:
        return (await host_named(reads, text)).host_id
    found = await reads.hosts(name=text, limit=2)
    if not found:
        raise Problem(Code.NO_SUCH_HOST, {"host": text})
    if len(found) > 1:
        raise Problem(Code.BAD_REQUEST, {"reason": f"host: several hosts are called {text}; give an id"})
    return found[0].host_id


async def operation_named(reads: ReadModel, text: str) -> OperationView:
    """Read the operation with the id *text*; raises Problem no_such_operation."""
    operation_id = ids.read_operation(text)
    found = None if operation_id is None else await soon(lambda: reads.operation(operation_id))
    if found is None:
        raise Problem(Code.NO_SUCH_OPERATION, {"operation": text})
    return found


async def steps_of(reads: ReadModel, operation: OperationView) -> Sequence[StepView]:
    """List the steps of *operation*; while only its command is known there are none to ask for."""
    return await reads.steps(operation.operation_id) if operation.seq else ()


async def host_names(reads: ReadModel, wanted: Collection[HostId]) -> Mapping[HostId, str]:
    """Give the names of the hosts *wanted*: one question for one host, a second for many."""
    if not wanted:
        return {}
    if len(wanted) == 1:
        (host_id,) = wanted
        host = await reads.host(host_id)
        return {} if host is None else {host_id: host.name}
    return {host.host_id: host.name for host in await reads.hosts()}


async def soon(read: Callable[[], Awaitable[T | None]]) -> T | None:
    """Read until there is a row, for at most PATIENCE_S."""
    waits = delays_s(0.01, 0.1)
    until = asyncio.get_running_loop().time() + PATIENCE_S
    found = await read()
    while found is None and asyncio.get_running_loop().time() < until:
        await asyncio.sleep(waits.next())
        found = await read()
    return found
