"""What is known is shown as it is published."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from events.codes import Code
from events.effective import FailureCode, StartFailure, Step
from events.facts import PauseCause
from events.ids import CommandId, HostId, VmId
from events.machine import MachineFacts, Storage
from events.values import VmPhase
from events.views import LastFailure, OperationState, StepView
from events.wishes import NOTHING_WISHED
from infra.readmodel.port import HISTORY_BYTES_MAX
from services.api.core.ids import show_host, show_operation, show_vm
from tests.support.builders import an_effective
from tests.unit.api.conftest import Api
from tests.unit.api.rows import (
    HOST,
    NOON,
    OPERATION,
    OTHER_VM,
    VM,
    a_host,
    a_vm,
    an_event,
    an_operation,
)


async def test_a_running_vm_shows_its_host_and_what_can_be_done(api: Api) -> None:
    api.know(a_vm(phase=VmPhase.RUNNING))
    assert (await api.get(f"/vms/{show_vm(VM)}")).json() == {
        "id": show_vm(VM),
        "name": "web-01",
        "phase": "running",
        "desired": "running",
        "vcpus": 1,
        "memory_mib": 512,
        "image": "tiny",
        "host": {"id": show_host(HOST), "name": "host-1"},
        "generation": 1,
        "last_stop": None,
        "created_at": "2026-01-02T12:00:00Z",
        "changed_at": "2026-01-02T12:00:00Z",
        "allowed_verbs": ["stop", "power_off", "reboot", "reset", "pause", "update"],
        "spec": a_vm().spec.model_dump(mode="json")
        | {"highly_available": False, "placement": NOTHING_WISHED.model_dump(mode="json")},
        "pending_changes": [],
        "pause_cause": None,
        "responding": True,
        "agent": False,
        "effective": None,
        "last_failure": None,
    }


async def test_a_vm_is_nowhere_while_it_is_stopped(api: Api) -> None:
    body = (await api.get(f"/vms/{show_vm(VM)}")).json()
    assert (body["host"], body["allowed_verbs"]) == (None, ["start", "update", "delete"])


async def test_vms_come_page_by_page(api: Api) -> None:
    api.know(a_vm(OTHER_VM, "web-02", VmPhase.RUNNING))
    first = (await api.get("/vms", params={"limit": 1})).json()
    assert [vm["name"] for vm in first["items"]] == ["web-01"]
    second = (await api.get("/vms", params={"limit": 1, "cursor": first["next_cursor"]})).json()
    assert ([vm["name"] for vm in second["items"]], second["next_cursor"]) == (["web-02"], None)


async def test_a_vm_is_found_by_its_exact_name(api: Api) -> None:
    api.know(a_vm(OTHER_VM, "web-02"))
    found = (await api.get("/vms", params={"name": "web-02"})).json()["items"]
    assert [vm["id"] for vm in found] == [show_vm(OTHER_VM)]
    assert (await api.get("/vms", params={"name": "web"})).json()["items"] == []


async def test_vms_on_several_hosts_show_each_its_own(api: Api) -> None:
    second = HostId(VmId(OTHER_VM))
    api.know(a_host(second, "host-2"), a_vm(phase=VmPhase.RUNNING))
    api.know(a_vm(OTHER_VM, "web-02", VmPhase.RUNNING).model_copy(update={"host_id": second}))
    items = (await api.get("/vms")).json()["items"]
    assert [vm["host"]["name"] for vm in items] == ["host-1", "host-2"]


async def test_a_vm_shows_its_spec_and_how_its_run_is(api: Api) -> None:
    row = a_vm(phase=VmPhase.PAUSED)
    changed = {"spec": row.spec.model_copy(update={"vcpus": 2, "machine": "q35"}), "running": row.spec}
    run = {"pause_cause": PauseCause.NO_SPACE, "responding": False, "agent": True}
    api.know(row.model_copy(update=changed | run))
    listed = (await api.get("/vms")).json()["items"][0]
    body = (await api.get(f"/vms/{show_vm(VM)}")).json()
    assert body == listed | {"effective": None, "last_failure": None}
    assert (body["pause_cause"], body["responding"], body["agent"]) == ("no_space", False, True)
    assert body["pending_changes"] == ["vcpus", "machine"]
    assert body["spec"]["on_io_error"] == "auto_resume"
    assert body["allowed_verbs"] == ["stop", "power_off", "reset", "resume", "update"]


async def test_a_vm_that_runs_as_asked_or_not_at_all_has_no_pending_changes(api: Api) -> None:
    for running in (None, a_vm().spec):
        api.know(a_vm().model_copy(update={"running": running}))
        assert (await api.get(f"/vms/{show_vm(VM)}")).json()["pending_changes"] == []


async def test_one_vm_shows_what_the_hypervisor_has_and_what_failed(api: Api) -> None:
    failure = StartFailure(step=Step.DEVICES, code=FailureCode.DISK, message="no room")
    failed = LastFailure(message="no", failures=(failure,), log_tail="qemu: no")
    api.know(a_vm().model_copy(update={"effective": an_effective(), "last_failure": failed}))
    body = (await api.get(f"/vms/{show_vm(VM)}")).json()
    assert body["effective"] == an_effective().model_dump(mode="json")
    assert body["last_failure"] == {
        "message": "no",
        "failures": [{"step": "devices", "code": "disk", "message": "no room"}],
        "log_tail": "qemu: no",
    }


async def test_a_deleted_vm_can_be_looked_at_but_is_in_no_list(api: Api) -> None:
    api.know(a_vm(phase=VmPhase.DELETED))
    assert (await api.get(f"/vms/{show_vm(VM)}")).json()["phase"] == "deleted"
    assert (await api.get("/vms")).json()["items"] == []


async def test_a_host_is_up_while_it_is_heard(api: Api) -> None:
    path = f"/hosts/{show_host(HOST)}"
    assert (await api.get(path)).json()["last_heartbeat_age_s"] is None
    api.pulse.heard(f"hb.{HOST}", b"")
    api.pulse.heard("hb.nonsense", b"")
    api.clock.passed_s = 6.0
    assert (await api.get(path)).json()["state"] == "up"
    api.clock.passed_s = 6.5
    body = (await api.get(path)).json()
    assert (body["state"], body["last_heartbeat_age_s"]) == ("silent", 6.5)


async def test_a_host_is_not_called_silent_before_anybody_has_listened(api: Api) -> None:
    path = f"/hosts/{show_host(HOST)}"
    api.clock.passed_s = 5.9
    assert (await api.get(path)).json()["state"] == "unknown"
    assert [host["state"] for host in (await api.get("/hosts")).json()["items"]] == ["unknown"]
    api.clock.passed_s = 6.0
    assert (await api.get(path)).json()["state"] == "silent"


async def test_a_host_shows_what_is_left(api: Api) -> None:
    (body,) = (await api.get("/hosts")).json()["items"]
    assert body["capacity"] == {"vcpus": 8, "memory_mib": 4096}
    assert body["allocated"] == {"vcpus": 1, "memory_mib": 512}
    assert body["free"] == {"vcpus": 7, "memory_mib": 3584}


async def test_a_host_shows_what_it_is_made_of_once_it_has_said_so(api: Api) -> None:
    path = f"/hosts/{show_host(HOST)}"
    assert (await api.get(path)).json()["machine"] is None
    storage = Storage(name="default", path="x", problem="No such file or directory")
    api.know(
        a_host().model_copy(
            update={"machine": MachineFacts(storages=(storage,), networks=("br0",), labels=("ssd",))}
        )
    )
    machine = (await api.get(path)).json()["machine"]
    assert machine["labels"] == ["ssd"]
    assert (machine["networks"], machine["processor"]) == (["br0"], None)
    assert machine["storages"][0]["problem"] == "No such file or directory"


async def test_an_operation_shows_its_steps(api: Api) -> None:
    step = StepView(operation_id=OPERATION, seq=7, type="vm.placed", subject="evt.vm.x.ctl", time=NOON)
    api.know(an_operation(), step)
    body = (await api.get(f"/operations/{show_operation(OPERATION)}")).json()
    assert (body["state"], body["error"], body["note"]) == ("running", None, None)
    assert [one["type"] for one in body["steps"]] == ["vm.placed"]


async def test_a_failed_operation_says_why_in_full(api: Api) -> None:
    refusals = [{"host": "host-1", "filter": "memory", "needs": "8192 MiB", "has": "512 MiB"}]
    facts = {"considered": 1, "vcpus": 2, "memory_mib": 8192, "refusals": refusals}
    failed = an_operation(state=OperationState.FAILED)
    api.know(failed.model_copy(update={"code": Code.NO_HOST_FITS, "facts": facts}))
    error = (await api.get(f"/operations/{show_operation(OPERATION)}")).json()["error"]
    assert error["code"] == "no_host_fits"
    assert error["detail"] == "none of 1 hosts can take 2 vCPUs and 8192 MiB"
    assert error["refusals"] == refusals


async def test_nothing_to_do_is_a_success_with_a_note(api: Api) -> None:
    done = an_operation(state=OperationState.SUCCEEDED)
    api.know(done.model_copy(update={"code": Code.ALREADY_SO, "facts": {"phase": "running"}}))
    body = (await api.get(f"/operations/{show_operation(OPERATION)}")).json()
    assert (body["note"], body["error"]) == ("the VM is running already", None)


@pytest.mark.parametrize(
    ("facts", "note"),
    [
        ({"changed": [], "live": [], "pending": []}, "the VM is as it was asked to be already"),
        ({"changed": ["vcpus"], "live": [], "pending": ["vcpus"]}, None),
        ({"live": ["vcpus"], "pending": []}, None),
    ],
)
async def test_an_update_that_changed_nothing_says_so(
    api: Api, facts: dict[str, Any], note: str | None
) -> None:
    done = an_operation(state=OperationState.SUCCEEDED, verb="update")
    api.know(done.model_copy(update={"facts": facts}))
    assert (await api.get(f"/operations/{show_operation(OPERATION)}")).json()["note"] == note


async def test_verbs_are_told_as_they_are_typed(api: Api) -> None:
    facts = {"verb": "power_off", "phase": "paused", "allowed": ["power_off", "reset"]}
    failed = an_operation(state=OperationState.FAILED)
    api.know(failed.model_copy(update={"code": Code.WRONG_PHASE, "facts": facts}))
    error = (await api.get(f"/operations/{show_operation(OPERATION)}")).json()["error"]
    assert error["detail"] == "power-off is not possible while the VM is paused"
    assert error["hint"] == "possible now: power-off, reset"


async def test_a_start_that_the_host_refused_says_all_that_is_wrong(api: Api) -> None:
    failures = [{"step": "validate", "code": "image", "message": "no image tiny"}]
    facts = {"host": "host-1", "message": "1 thing is wrong", "failures": failures}
    failed = an_operation(state=OperationState.FAILED)
    api.know(failed.model_copy(update={"code": Code.HYPERVISOR_REFUSED, "facts": facts}))
    error = (await api.get(f"/operations/{show_operation(OPERATION)}")).json()["error"]
    assert (error["code"], error["failures"]) == ("hypervisor_refused", failures)


async def test_operations_come_youngest_first_page_by_page(api: Api) -> None:
    young = an_operation(CommandId(UUID(int=9)), vm_id=OTHER_VM)
    api.know(an_operation(), young.model_copy(update={"accepted_at": NOON + timedelta(seconds=9)}))
    first = (await api.get("/operations", params={"limit": 1})).json()
    assert [one["target"]["id"] for one in first["items"]] == [show_vm(OTHER_VM)]
    second = (await api.get("/operations", params={"limit": 1, "cursor": first["next_cursor"]})).json()
    assert ([one["target"]["id"] for one in second["items"]], second["next_cursor"]) == ([show_vm(VM)], None)
    only = (await api.get("/operations", params={"vm": show_vm(VM)})).json()["items"]
    assert [one["id"] for one in only] == [show_operation(OPERATION)]


async def test_the_log_is_read_in_order_from_where_one_was(api: Api) -> None:
    api.know(an_event(1), an_event(2, OTHER_VM), an_event(3))
    page = (await api.get("/events", params={"limit": 2})).json()
    assert ([one["seq"] for one in page["items"]], page["next_after"]) == ([1, 2], 2)
    rest = (await api.get("/events", params={"after": 3})).json()
    assert rest == {"items": [], "next_after": 3}
    mine = (await api.get(f"/vms/{show_vm(VM)}/history")).json()
    assert [one["seq"] for one in mine["items"]] == [1, 3]
    assert mine["items"][0]["vm"] == show_vm(VM)


@pytest.mark.parametrize("path", ["/events", f"/vms/{show_vm(VM)}/history"])
async def test_a_page_of_large_events_ends_early_and_the_next_goes_on(api: Api, path: str) -> None:
    for seq in range(1, 4):
        api.tables.log[seq] = (an_event(seq), b"x" * (HISTORY_BYTES_MAX // 2))
    pages = [(await api.get(path, params={"after": after})).json() for after in (0, 2, 3)]
    shown = [([one["seq"] for one in page["items"]], page["next_after"]) for page in pages]
    assert shown == [([1, 2], 2), ([3], 3), ([], 3)]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (f"/vms/{show_vm(OTHER_VM)}", Code.NO_SUCH_VM),
        ("/vms/web-01", Code.NO_SUCH_VM),
        (f"/vms/{show_vm(OTHER_VM)}/history", Code.NO_SUCH_VM),
        ("/operations?vm=web-01", Code.NO_SUCH_VM),
        ("/hosts/host-1", Code.NO_SUCH_HOST),
        (f"/operations/{show_operation(OPERATION)}", Code.NO_SUCH_OPERATION),
        ("/nothing", Code.NO_SUCH_ROUTE),
    ],
)
async def test_what_is_not_there_is_said_by_its_own_code(api: Api, path: str, code: Code) -> None:
    answer = await api.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, code)


@pytest.mark.parametrize("path", ["/vms", "/hosts", "/operations", "/events", f"/vms/{show_vm(VM)}"])
async def test_reading_waits_for_nobody_while_postgresql_is_away(api: Api, path: str) -> None:
    api.tables.away = True
    answer = await api.get(path)
    assert (answer.status_code, answer.json()["code"]) == (503, Code.READ_MODEL_UNAVAILABLE)
    assert answer.headers["Retry-After"] == "1"


@pytest.mark.parametrize("path", ["/vms", "/hosts", "/operations"])
async def test_a_cursor_of_another_list_is_refused(api: Api, path: str) -> None:
    answer = await api.get(path, params={"cursor": "nonsense"})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/cursor")
