"""Commands are taken once, whatever happens around them."""

import asyncio
from uuid import UUID

import httpx
import pytest

from events import codec, subjects
from events.codes import Code
from events.commands import StopVm
from events.ids import CommandId, Seq, command_id, new_vm_id
from events.values import VmPhase
from events.views import OperationState
from infra.eventlog.memory import Fault, MemoryLog
from infra.eventlog.port import Write
from services.api.core.ids import show_operation, show_vm
from tests.support.eventually import turns
from tests.unit.api.conftest import Api
from tests.unit.api.rows import OPERATION, OTHER_VM, VM, a_vm, an_operation

START = f"/vms/{show_vm(VM)}/actions/start"
STOP = f"/vms/{show_vm(VM)}/actions/stop"
WEB = {"name": "web-02", "vcpus": 1, "memory_mib": 512, "image": "tiny"}


def refused(answer: httpx.Response, status: int, code: Code) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_start_is_accepted_and_lies_on_the_log(api: Api) -> None:
    answer = await api.post(START, key="k1")
    operation = show_operation(command_id("admin", "k1"))
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/api/v1/operations/{operation}"
    assert answer.json() == {
        "id": operation,
        "verb": "start",
        "target": {"kind": "vm", "id": show_vm(VM)},
        "state": "pending",
        "requested_by": "admin",
        "accepted_at": "2026-01-02T12:00:00Z",
        "ended_at": None,
        "seq": 0,
        "note": None,
        "error": None,
        "steps": [],
    }
    (stored,) = api.commands.messages
    envelope, command = codec.decode(stored.body)
    assert stored.subject == subjects.command(VM, command_id("admin", "k1"))
    assert envelope.id == envelope.correlationid == command_id("admin", "k1")
    assert (envelope.source, envelope.actor, envelope.causationid) == ("roost/api", "admin", None)
    assert command.TYPE == "vm.start"


async def test_a_create_derives_the_id_of_its_vm(api: Api) -> None:
    answer = await api.post("/vms", key="k1", json=WEB)
    assert answer.json()["target"]["id"] == show_vm(new_vm_id(command_id("admin", "k1")))


async def test_a_delete_is_accepted(api: Api) -> None:
    answer = await api.http.delete(f"/api/v1/vms/{show_vm(VM)}")
    assert (answer.status_code, answer.json()["verb"]) == (202, "delete")


async def test_a_stop_carries_its_grace(api: Api) -> None:
    for key, body, grace_s in (("a", None, 60), ("b", {"grace_s": 0}, 0), ("c", {"grace_s": 1.5}, 1.5)):
        assert (await api.post(STOP, key=key, json=body)).status_code == 202
        command = codec.decode(api.commands.messages[-1].body)[1]
        assert isinstance(command, StopVm)
        assert command.grace_s == grace_s


async def test_without_a_key_each_request_is_a_command_of_its_own(api: Api) -> None:
    keys = {(await api.post(START)).headers["Idempotency-Key"] for _ in range(2)}
    assert len(keys) == len(api.commands.messages) == 2


async def test_the_same_key_twice_is_one_command(api: Api) -> None:
    first = await api.post("/vms", key="k1", json=WEB)
    again = await api.post("/vms", key="k1", json=WEB)
    assert first.json() == again.json()
    assert len(api.commands.messages) == 1


async def test_the_same_key_with_another_body_is_refused(api: Api) -> None:
    await api.post("/vms", key="k1", json=WEB)
    refused(await api.post("/vms", key="k1", json=WEB | {"vcpus": 2}), 422, Code.KEY_REUSED)
    await api.post(STOP, key="k2", json={"grace_s": 1})
    refused(await api.post(STOP, key="k2", json={"grace_s": 2}), 422, Code.KEY_REUSED)
    assert len(api.commands.messages) == 2


async def test_the_same_key_with_another_verb_is_refused(api: Api) -> None:
    await api.post(START, key="k1")
    refused(await api.post(STOP, key="k1"), 422, Code.KEY_REUSED)


async def test_the_same_key_for_another_vm_is_refused_by_the_log(api: Api) -> None:
    api.know(a_vm(OTHER_VM, "web-02"))
    await api.post(START, key="k1")
    refused(await api.post(START.replace(str(VM), str(OTHER_VM)), key="k1"), 422, Code.KEY_REUSED)


async def test_the_same_key_for_another_vm_is_refused_by_the_read_model(api: Api) -> None:
    api.know(an_operation(command_id("admin", "k1"), vm_id=OTHER_VM))
    refused(await api.post(START, key="k1"), 422, Code.KEY_REUSED)
    assert not api.commands.messages


async def test_a_repeated_delete_finds_its_operation_though_the_vm_is_gone(api: Api) -> None:
    await api.http.delete(f"/api/v1/vms/{show_vm(VM)}", headers={"Idempotency-Key": "k1"})
    done = an_operation(command_id("admin", "k1"), OperationState.SUCCEEDED, "delete")
    api.know(a_vm(phase=VmPhase.DELETED), done)
    again = await api.http.delete(f"/api/v1/vms/{show_vm(VM)}", headers={"Idempotency-Key": "k1"})
    assert (again.status_code, again.json()["state"]) == (202, "succeeded")


@pytest.mark.parametrize("vm", [show_vm(OTHER_VM), str(VM), "web-01", f"vm_{{{VM}}}", "vm_"])
async def test_a_vm_that_is_not_known_is_not_found(api: Api, vm: str) -> None:
    refused(await api.post(f"/vms/{vm}/actions/start"), 404, Code.NO_SUCH_VM)
    assert not api.commands.messages


async def test_a_deleted_vm_takes_no_commands(api: Api) -> None:
    api.know(a_vm(phase=VmPhase.DELETED))
    refused(await api.post(START), 404, Code.NO_SUCH_VM)


async def test_a_vm_whose_create_was_accepted_is_taken_on_trust(api: Api) -> None:
    api.know(an_operation(OPERATION, OperationState.PENDING, "create", OTHER_VM))
    assert (await api.post(START.replace(str(VM), str(OTHER_VM)))).status_code == 202


async def test_a_vm_without_a_row_is_taken_on_trust_while_the_projector_is_behind(api: Api) -> None:
    start = START.replace(str(VM), str(OTHER_VM))
    await MemoryLog(api.events).append([Write(subjects.vm_ctl(OTHER_VM), UUID(int=1), b"")], {})
    assert (await api.post(start)).status_code == 202
    api.tables.checkpoints["EVT"] = Seq(1)
    refused(await api.post(start), 404, Code.NO_SUCH_VM)


async def test_an_unknown_vm_is_told_apart_though_events_come_all_the_time(api: Api) -> None:
    await MemoryLog(api.events).append([Write(subjects.vm_ctl(VM), UUID(int=1), b"")], {})
    asyncio.get_running_loop().call_later(0.4, api.tables.checkpoints.__setitem__, "EVT", Seq(1))
    refused(await api.post(START.replace(str(VM), str(OTHER_VM))), 404, Code.NO_SUCH_VM)


async def test_a_command_that_the_log_has_forgotten_is_not_done_again(api: Api) -> None:
    first = await api.post(START, key="k1")
    api.commands.messages.clear()
    for state in (OperationState.RUNNING, OperationState.SUCCEEDED):
        api.know(an_operation(command_id("admin", "k1"), state))
        again = await api.post(START, key="k1")
        assert (again.status_code, again.json()["id"], again.json()["state"]) == (
            202,
            first.json()["id"],
            state,
        )
    assert not api.commands.messages


async def test_a_known_operation_is_still_compared_with_what_was_stored(api: Api) -> None:
    await api.post(STOP, key="k1", json={"grace_s": 1})
    api.know(an_operation(command_id("admin", "k1"), OperationState.SUCCEEDED, "stop"))
    refused(await api.post(STOP, key="k1", json={"grace_s": 2}), 422, Code.KEY_REUSED)


async def test_a_repetition_is_known_before_its_command_was_projected(api: Api) -> None:
    await api.post(START, key="k1")
    api.know(an_operation(command_id("admin", "k1"), verb=""))
    assert (await api.post(START, key="k1")).status_code == 202


async def test_a_vm_whose_row_is_a_moment_late_is_found(api: Api) -> None:
    asyncio.get_running_loop().call_later(0.05, api.know, a_vm(OTHER_VM, "web-02"))
    assert (await api.post(START.replace(str(VM), str(OTHER_VM)))).status_code == 202


async def test_commands_are_taken_while_postgresql_is_away(api: Api) -> None:
    api.tables.away = True
    assert (await api.post(STOP)).status_code == 202
    assert (await api.post(STOP, params={"wait": 0.05})).json()["state"] == "pending"


async def test_without_the_log_nothing_is_accepted_and_the_key_is_given_back(api: Api) -> None:
    api.commands.faults.append(Fault.NOT_STORED)
    answer = await api.post(START)
    refused(answer, 503, Code.LOG_UNAVAILABLE)
    told = "event log: not stored; it is not known whether the command was stored"
    assert answer.json()["detail"] == told
    key = answer.headers["Idempotency-Key"]
    assert answer.json()["operation"] == show_operation(command_id("admin", key))
    assert (await api.post(START, key=key)).json()["id"] == answer.json()["operation"]


async def test_a_lost_answer_is_mended_by_the_same_key(api: Api) -> None:
    api.commands.faults.append(Fault.ANSWER_LOST)
    refused(await api.post(START, key="k1"), 503, Code.LOG_UNAVAILABLE)
    assert (await api.post(START, key="k1")).status_code == 202
    assert len(api.commands.messages) == 1


async def test_a_full_log_is_said_so(api: Api) -> None:
    api.commands.faults.append(Fault.FULL)
    refused(await api.post(START), 507, Code.LOG_FULL)


async def end(api: Api, operation_id: CommandId) -> None:
    """End an operation as the projector does: in its row first, then aloud."""
    await MemoryLog(api.commands).follow(Seq(0), ["cmd.>"]).next(1, wait_s=5)
    api.know(an_operation(operation_id, OperationState.SUCCEEDED))
    await api.signals.send(subjects.ended(operation_id), b"")


async def test_a_command_that_waits_answers_as_soon_as_its_row_has_ended(api: Api) -> None:
    ending = end(api, command_id("admin", "k1"))
    answer, _ = await asyncio.gather(api.post(START, key="k1", params={"wait": 30}), ending)
    assert answer.json()["state"] == "succeeded"


async def test_another_operation_that_ends_is_none_of_our_business(api: Api) -> None:
    ending = end(api, command_id("admin", "someone else"))
    answer, _ = await asyncio.gather(api.post(START, key="k1", params={"wait": 0.1}), ending)
    assert answer.json()["state"] == "pending"


async def test_an_operation_can_be_waited_for(api: Api) -> None:
    api.know(an_operation())
    path = f"/operations/{show_operation(OPERATION)}"

    async def end_soon() -> None:
        await turns(5)
        api.know(an_operation(state=OperationState.SUCCEEDED))
        await api.signals.send(subjects.ended(OPERATION), b"")

    answer, _ = await asyncio.gather(api.get(path, params={"wait": 30}), end_soon())
    assert answer.json()["state"] == "succeeded"


async def test_an_end_that_nobody_signalled_is_seen_all_the_same(api: Api) -> None:
    asyncio.get_running_loop().call_later(0.05, api.know, an_operation(state=OperationState.SUCCEEDED))
    api.know(an_operation())
    answer = await api.get(f"/operations/{show_operation(OPERATION)}", params={"wait": 30})
    assert answer.json()["state"] == "succeeded"
