"""/vms/…/actions: ask for something that changes how a VM runs; and /verbs: what may be asked for when."""

from fastapi import Response

from events.codes import Code
from events.commands import PauseVm, PowerOffVm, RebootVm, ResetVm, ResumeVm, StartVm, StopVm
from events.spec import RunOnce
from events.vm import VERB_TABLE
from infra.readmodel.port import ReadModel
from services.api.access import guarded_router
from services.api.core.bodies import OperationDetail, VerbsBody
from services.api.core.wanted import OnceBody, RebootVmBody, StartVmBody, StopVmBody
from services.api.lookup import host_called
from services.api.parts import PartsNeeded
from services.api.routes.asking import Asked, accept, commanding, reading, vm_id_of

router = guarded_router("VMs")

_ACCEPTED, _REFUSALS = 202, commanding(Code.NO_SUCH_VM)


@router.get("/verbs", operation_id="list_verbs", responses=reading())
async def list_verbs() -> VerbsBody:
    """Tell what each verb means in each phase: `do`, `join`, `already` or `refuse`."""
    return VerbsBody(verbs=VERB_TABLE)


@router.post(
    "/vms/{vm}/actions/start",
    operation_id="start_vm",
    status_code=_ACCEPTED,
    responses=commanding(Code.NO_SUCH_VM, Code.NO_SUCH_HOST, Code.READ_MODEL_UNAVAILABLE),
)
async def start_vm(
    vm: str, ask: Asked, parts: PartsNeeded, response: Response, body: StartVmBody | None = None
) -> OperationDetail:
    """Place the VM on a host and run it there."""
    how = body or StartVmBody()
    command = StartVm(vm_id=vm_id_of(vm), paused=how.paused, once=await _once(parts.reads, how.once))
    return await accept(parts, response, ask, command)


@router.post("/vms/{vm}/actions/stop", operation_id="stop_vm", status_code=_ACCEPTED, responses=_REFUSALS)
async def stop_vm(
    vm: str, ask: Asked, parts: PartsNeeded, response: Response, body: StopVmBody | None = None
) -> OperationDetail:
    """Shut the guest down; power it off when `grace_s` has passed."""
    command = StopVm(vm_id=vm_id_of(vm), grace_s=(body or StopVmBody()).grace_s)
    return await accept(parts, response, ask, command)


@router.post(
    "/vms/{vm}/actions/power-off", operation_id="power_off_vm", status_code=_ACCEPTED, responses=_REFUSALS
)
async def power_off_vm(vm: str, ask: Asked, parts: PartsNeeded, response: Response) -> OperationDetail:
    """End the VM without asking the guest."""
    return await accept(parts, response, ask, PowerOffVm(vm_id=vm_id_of(vm)))


@router.post("/vms/{vm}/actions/reboot", operation_id="reboot_vm", status_code=_ACCEPTED, responses=_REFUSALS)
async def reboot_vm(
    vm: str, ask: Asked, parts: PartsNeeded, response: Response, body: RebootVmBody | None = None
) -> OperationDetail:
    """Have the guest reboot; reset it when `grace_s` has passed. With pending changes: stop and start it."""
    command = RebootVm(vm_id=vm_id_of(vm), grace_s=(body or RebootVmBody()).grace_s)
    return await accept(parts, response, ask, command)


@router.post("/vms/{vm}/actions/reset", operation_id="reset_vm", status_code=_ACCEPTED, responses=_REFUSALS)
async def reset_vm(vm: str, ask: Asked, parts: PartsNeeded, response: Response) -> OperationDetail:
    """Press the reset button: the guest is not asked."""
    return await accept(parts, response, ask, ResetVm(vm_id=vm_id_of(vm)))


@router.post("/vms/{vm}/actions/pause", operation_id="pause_vm", status_code=_ACCEPTED, responses=_REFUSALS)
async def pause_vm(vm: str, ask: Asked, parts: PartsNeeded, response: Response) -> OperationDetail:
    """Have the guest's vCPUs stand still; its memory stays."""
    return await accept(parts, response, ask, PauseVm(vm_id=vm_id_of(vm)))


@router.post("/vms/{vm}/actions/resume", operation_id="resume_vm", status_code=_ACCEPTED, responses=_REFUSALS)
async def resume_vm(vm: str, ask: Asked, parts: PartsNeeded, response: Response) -> OperationDetail:
    """Have the guest go on."""
    return await accept(parts, response, ask, ResumeVm(vm_id=vm_id_of(vm)))


async def _once(reads: ReadModel, wanted: OnceBody) -> RunOnce | None:
    """Give what holds for this run alone; None: nothing does."""
    if wanted == OnceBody():
        return None
    return RunOnce(
        host_id=None if wanted.host is None else await host_called(reads, wanted.host),
        boot=wanted.boot,
        cd=wanted.cd,
        kernel=wanted.kernel,
        cmdline=wanted.cmdline,
    )
