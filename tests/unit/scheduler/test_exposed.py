"""A scheduler says which hosts must not fail, when that changes."""

from structlog.testing import capture_logs

from events.commands import CreateVm, StartVm
from tests.support.builders import HOST, VM, command_id, spec
from tests.unit.scheduler.shell import Control

CREATE, START = command_id(1), command_id(2)


async def test_hosts_whose_failure_cannot_be_borne_are_named_once_by_each_scheduler() -> None:
    control = Control(failures_tolerated=1)
    await control.host(HOST)
    wanted = spec().model_copy(update={"highly_available": True})
    with capture_logs() as logged:
        async with control.scheduler():
            await control.ask(CREATE, CreateVm(vm_id=VM, spec=wanted))
            await control.ask(START, StartVm(vm_id=VM))
            await control.see(lambda ledger: VM in ledger.placed)
            await control.settled()
        async with control.scheduler():
            await control.turns()
    named = [line for line in logged if line["event"] == "failures_not_borne"]
    assert [(line["count"], line["host_ids"]) for line in named] == [(1, [str(HOST)])] * 2
