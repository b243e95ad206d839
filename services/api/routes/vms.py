"""/vms: list, look, and ask for something."""

from typing import Annotated

from fastapi import Query, Response

from events.codes import Code
from events.commands import CreateVm, DeleteVm, UpdateVm
from events.ids import Seq, new_vm_id
from events.spec import VmSpec
from services.api.access import guarded_router
from services.api.core import ids
from services.api.core.bodies import EventPage, OperationDetail, VmDetail, VmPage
from services.api.core.faults import bad_cursor
from services.api.core.render import event_page, vm_body, vm_detail
from services.api.core.wanted import CreateVmBody, UpdateVmBody, check_patch, patch_of
from services.api.lookup import host_names, vm_named
from services.api.parts import PartsNeeded
from services.api.routes.asking import (
    PAGE_DEFAULT,
    Asked,
    Cursor,
    Limit,
    accept,
    commanding,
    reading,
    vm_id_of,
)

router = guarded_router("VMs")


@router.get("/vms", operation_id="list_vms", responses=reading())
async def list_vms(
    parts: PartsNeeded,
    name: Annotated[str | None, Query(description="Only the VM of exactly this name.")] = None,
    limit: Limit = PAGE_DEFAULT,
    cursor: Cursor = None,
) -> VmPage:
    """List the VMs that are not deleted."""
    after = None if cursor is None else ids.read_vm(cursor)
    if cursor is not None and after is None:
        raise bad_cursor()
    found = await parts.reads.vms(name=name, after=after, limit=limit + 1)
    shown = found[:limit]
    names = await host_names(parts.reads, {vm.host_id for vm in shown if vm.host_id is not None})
    more = len(found) > limit
    return VmPage(
        items=[vm_body(vm, names) for vm in shown], next_cursor=ids.show_vm(shown[-1].vm_id) if more else None
    )


@router.get("/vms/{vm}", operation_id="show_vm", responses=reading(Code.NO_SUCH_VM))
async def show_vm(vm: str, parts: PartsNeeded) -> VmDetail:
    """Show one VM; a deleted one is still there, in phase `deleted`."""
    found = await vm_named(parts.reads, vm)
    return vm_detail(found, await host_names(parts.reads, {found.host_id} if found.host_id else ()))


@router.get("/vms/{vm}/history", operation_id="list_vm_history", responses=reading(Code.NO_SUCH_VM))
async def list_vm_history(
    vm: str, parts: PartsNeeded, after: Annotated[int, Query(ge=0)] = 0, limit: Limit = PAGE_DEFAULT
) -> EventPage:
    """List the events about one VM, in order from `after` on."""
    vm_id = (await vm_named(parts.reads, vm)).vm_id
    return event_page(await parts.reads.history(vm_id=vm_id, after=Seq(after), limit=limit), after)


@router.post("/vms", operation_id="create_vm", status_code=202, responses=commanding())
async def create_vm(
    body: CreateVmBody, ask: Asked, parts: PartsNeeded, response: Response
) -> OperationDetail:
    """Create a VM. It is stopped and nowhere placed until it is started."""
    command = CreateVm(vm_id=new_vm_id(ask.command_id), spec=VmSpec(**body.model_dump()))
    return await accept(parts, response, ask, command)


@router.patch(
    "/vms/{vm}",
    operation_id="update_vm",
    status_code=202,
    responses=commanding(Code.NO_SUCH_VM, Code.CANNOT_RENAME, Code.INVALID_SPEC),
)
async def update_vm(
    vm: str, body: UpdateVmBody, ask: Asked, parts: PartsNeeded, response: Response
) -> OperationDetail:
    """Change what the VM is: at once what can be changed while it runs, the rest with its next start."""
    patch = patch_of(body)
    command = UpdateVm(vm_id=vm_id_of(vm), patch=patch)
    return await accept(parts, response, ask, command, lambda row: check_patch(row, patch))


@router.delete("/vms/{vm}", operation_id="delete_vm", status_code=202, responses=commanding(Code.NO_SUCH_VM))
async def delete_vm(
    vm: str,
    ask: Asked,
    parts: PartsNeeded,
    response: Response,
    keep_disks: Annotated[bool, Query(description="Leave the files of its disks where they are.")] = False,
) -> OperationDetail:
    """Forget a stopped VM, free its name and remove its disks; its history stays."""
    return await accept(parts, response, ask, DeleteVm(vm_id=vm_id_of(vm), keep_disks=keep_disks))
