"""Each verb has its path; what holds for one run is read in depth; the table of verbs is served."""

from typing import Any
from uuid import UUID

import pytest

from events import codec
from events.codes import Code
from events.commands import Command, DeleteVm, PauseVm, PowerOffVm, RebootVm, ResetVm, ResumeVm, StartVm
from events.ids import HostId
from events.spec import BootDevice, RunOnce
from events.values import VmPhase
from events.vm import VERB_TABLE, allowed_verbs
from services.api.core.ids import show_host, show_vm
from tests.unit.api.conftest import Api
from tests.unit.api.rows import HOST, VM, a_host
from tests.unit.api.test_commands import refused

ACTIONS = f"/vms/{show_vm(VM)}/actions"


def stored(api: Api) -> Command:
    """The command that lies on the log."""
    (one,) = api.commands.messages
    command = codec.decode(one.body)[1]
    assert isinstance(command, Command)
    return command


@pytest.mark.parametrize(
    ("path", "body", "command"),
    [
        ("power-off", None, PowerOffVm(vm_id=VM)),
        ("reboot", None, RebootVm(vm_id=VM, grace_s=60)),
        ("reboot", {"grace_s": 0}, RebootVm(vm_id=VM, grace_s=0)),
        ("reset", None, ResetVm(vm_id=VM)),
        ("pause", None, PauseVm(vm_id=VM)),
        ("resume", None, ResumeVm(vm_id=VM)),
        ("start", {}, StartVm(vm_id=VM)),
        ("start", {"once": {}}, StartVm(vm_id=VM)),
        ("start", {"paused": True}, StartVm(vm_id=VM, paused=True)),
    ],
)
async def test_an_action_is_accepted(
    api: Api, path: str, body: dict[str, Any] | None, command: Command
) -> None:
    answer = await api.post(f"{ACTIONS}/{path}", json=body)
    assert (answer.status_code, answer.json()["verb"]) == (202, command.VERB)
    assert stored(api) == command


async def test_a_delete_may_keep_the_disks(api: Api) -> None:
    answer = await api.http.delete(f"/api/v1/vms/{show_vm(VM)}", params={"keep_disks": "true"})
    assert answer.status_code == 202
    assert stored(api) == DeleteVm(vm_id=VM, keep_disks=True)


@pytest.mark.parametrize("host", ["host-1", show_host(HOST)])
async def test_a_start_carries_what_holds_for_this_run_alone(api: Api, host: str) -> None:
    once = {"host": host, "boot": ["cd", "disk"], "cd": "rescue", "kernel": "other", "cmdline": "quiet"}
    assert (await api.post(f"{ACTIONS}/start", json={"paused": True, "once": once})).status_code == 202
    wanted = RunOnce(
        host_id=HOST,
        boot=(BootDevice.CD, BootDevice.DISK),
        cd="rescue",
        kernel="other",
        cmdline="quiet",
    )
    assert stored(api) == StartVm(vm_id=VM, paused=True, once=wanted)


@pytest.mark.parametrize("host", ["host-9", show_host(HostId(UUID(int=9))), ""])
async def test_a_host_that_is_not_there_is_not_found(api: Api, host: str) -> None:
    refused(await api.post(f"{ACTIONS}/start", json={"once": {"host": host}}), 404, Code.NO_SUCH_HOST)
    assert not api.commands.messages


async def test_a_name_that_two_hosts_have_is_not_guessed_about(api: Api) -> None:
    api.know(a_host(HostId(UUID(int=9))))
    answer = await api.post(f"{ACTIONS}/start", json={"once": {"host": "host-1"}})
    refused(answer, 422, Code.BAD_REQUEST)
    assert answer.json()["detail"] == "host: several hosts are called host-1; give an id"


async def test_a_host_cannot_be_looked_up_while_postgresql_is_away(api: Api) -> None:
    api.tables.away = True
    answer = await api.post(f"{ACTIONS}/start", json={"once": {"host": "host-1"}})
    refused(answer, 503, Code.READ_MODEL_UNAVAILABLE)
    assert (await api.post(f"{ACTIONS}/start", json={"paused": True})).status_code == 202


@pytest.mark.parametrize(
    ("action", "body", "pointer"),
    [
        ("start", {"once": {"boot": ["floppy"]}}, "/once/boot/0"),
        ("start", {"once": {"boot": ["disk", "cd", "network", "disk"]}}, "/once/boot"),
        ("start", {"once": {"cmdline": "ü"}}, "/once/cmdline"),
        ("start", {"once": {"disk": "x"}}, "/once/disk"),
        ("start", {"paused": 1}, "/paused"),
        ("reboot", {"grace_s": -1}, "/grace_s"),
        ("reboot", {"grace": 1}, "/grace"),
    ],
)
async def test_a_wrong_field_is_named_in_depth(
    api: Api, action: str, body: dict[str, Any], pointer: str
) -> None:
    answer = await api.post(f"{ACTIONS}/{action}", json=body)
    refused(answer, 422, Code.BAD_REQUEST)
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]
    assert not api.commands.messages


async def test_the_table_of_verbs_is_served(api: Api) -> None:
    verbs = (await api.get("/verbs")).json()["verbs"]
    assert verbs == VERB_TABLE
    for phase in VmPhase:
        offered = {verb for verb, row in verbs.items() if row.get(phase) in {"do", "join"}}
        assert offered == set(allowed_verbs(phase))
