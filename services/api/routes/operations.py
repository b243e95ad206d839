"""/operations: what was asked for and how far it is."""

from typing import Annotated

from fastapi import Query

from events.codes import Code
from events.views import OperationView
from services.api.access import guarded_router
from services.api.core import ids
from services.api.core.bodies import OperationDetail, OperationPage
from services.api.core.faults import bad_cursor
from services.api.core.render import operation_body, operation_detail
from services.api.lookup import operation_named, steps_of
from services.api.parts import Parts, PartsNeeded
from services.api.routes.asking import PAGE_DEFAULT, Cursor, Limit, Wait, reading, vm_id_of
from services.api.watching import watching

router = guarded_router("Operations")


@router.get("/operations", operation_id="list_operations", responses=reading(Code.NO_SUCH_VM))
async def list_operations(
    parts: PartsNeeded,
    vm: Annotated[str | None, Query(description="Only those on the VM with this id.")] = None,
    limit: Limit = PAGE_DEFAULT,
    cursor: Cursor = None,
) -> OperationPage:
    """List operations, the youngest first."""
    before = None if cursor is None else ids.read_operation(cursor)
    if cursor is not None and before is None:
        raise bad_cursor()
    found = await parts.reads.operations(
        vm_id=None if vm is None else vm_id_of(vm), before=before, limit=limit + 1
    )
    shown = found[:limit]
    more = len(found) > limit
    return OperationPage(
        items=[operation_body(one) for one in shown],
        next_cursor=ids.show_operation(shown[-1].operation_id) if more else None,
    )


@router.get(
    "/operations/{operation}", operation_id="show_operation", responses=reading(Code.NO_SUCH_OPERATION)
)
async def show_operation(operation: str, parts: PartsNeeded, wait: Wait = 0) -> OperationDetail:
    """Show one operation with its steps, once it has ended or `wait` has passed."""
    found = await operation_named(parts.reads, operation)
    if wait and not found.state.ended:
        found = await _ended(parts, found, wait)
    return operation_detail(found, await steps_of(parts.reads, found))


async def _ended(parts: Parts, operation: OperationView, wait_s: float) -> OperationView:
    async with watching(parts.signals, parts.reads, operation.operation_id) as watch:
        # It may have ended between the first look and the start of the watch.
        now = await parts.reads.operation(operation.operation_id)
        if now is not None and now.state.ended:
            return now
        return await watch.until_ended(wait_s) or operation
