"""What a VM shall be is taken whole and strictly in depth; a change is checked against what the VM is."""

from typing import Any

import pytest

from events import codec
from events.codes import Code
from events.commands import CreateVm, UpdateVm
from events.ids import command_id
from events.spec import Disk, DiskFormat, ErrorPolicy, Graphics, Nic, VmSpec, merged
from events.values import VmPhase
from events.views import OperationState
from events.wishes import GroupWish, PlacementWishes, Rule
from services.api.core.ids import show_host, show_vm
from services.api.core.wanted import UpdateVmBody
from tests.unit.api.conftest import Api
from tests.unit.api.rows import HOST, VM, a_vm, an_operation
from tests.unit.api.test_commands import WEB, refused

PATH = f"/api/v1/vms/{show_vm(VM)}"
WHOLE: dict[str, Any] = WEB | {
    "vcpus_max": 4,
    "machine": "pc-q35-7.2",
    "cpu_model": "host-model",
    "disks": [
        {"name": "data", "size_mib": 1024, "format": "raw", "storage": "fast"},
        {"name": "root", "base": "debian"},
    ],
    "nics": [{"network": "br0", "mac": "52:54:00:12:34:56"}, {"network": "br1"}],
    "graphics": "vnc",
    "persistent": False,
    "on_io_error": "leave_paused",
    "agent_wait_s": 30,
    "priority": 70,
    "highly_available": True,
}


async def test_a_whole_spec_is_taken_as_it_is(api: Api) -> None:
    assert (await api.post("/vms", json=WHOLE)).status_code == 202
    command = codec.decode(api.commands.messages[-1].body)[1]
    assert isinstance(command, CreateVm)
    assert command.spec == VmSpec(
        name="web-02",
        vcpus=1,
        memory_mib=512,
        image="tiny",
        vcpus_max=4,
        machine="pc-q35-7.2",
        cpu_model="host-model",
        disks=(
            Disk(name="data", size_mib=1024, format=DiskFormat.RAW, storage="fast"),
            Disk(name="root", base="debian"),
        ),
        nics=(Nic(network="br0", mac="52:54:00:12:34:56"), Nic(network="br1")),
        graphics=Graphics.VNC,
        persistent=False,
        on_io_error=ErrorPolicy.LEAVE_PAUSED,
        agent_wait_s=30.0,
        priority=70,
        highly_available=True,
    )


WISHED: dict[str, Any] = {
    "require_labels": ["rack=a", "ssd"],
    "forbid_labels": ["gpu"],
    "hosts": [show_host(HOST)],
    "prefer_hosts": [],
    "groups": [
        {"name": "db", "rule": "apart", "hard": True},
        {"name": "app", "rule": "together", "hard": False},
    ],
}
WISHES = PlacementWishes(
    require_labels=("rack=a", "ssd"),
    forbid_labels=("gpu",),
    hosts=(HOST,),
    groups=(
        GroupWish(name="db", rule=Rule.APART),
        GroupWish(name="app", rule=Rule.TOGETHER, hard=False),
    ),
)


async def test_wishes_are_taken_and_shown_in_the_same_form(api: Api) -> None:
    assert (await api.post("/vms", json=WEB | {"placement": WISHED})).status_code == 202
    command = codec.decode(api.commands.messages[-1].body)[1]
    assert isinstance(command, CreateVm)
    assert command.spec.placement == WISHES
    row = a_vm()
    api.know(row.model_copy(update={"spec": row.spec.model_copy(update={"placement": WISHES})}))
    assert (await api.get(f"/vms/{show_vm(VM)}")).json()["spec"]["placement"] == WISHED


async def test_of_wishes_a_change_replaces_what_it_names_and_null_is_nothing(api: Api) -> None:
    row = a_vm()
    api.know(row.model_copy(update={"spec": row.spec.model_copy(update={"placement": WISHES})}))
    sent = {"placement": {"hosts": None, "forbid_labels": ["slow"]}}
    assert (await api.http.patch(PATH, json=sent)).status_code == 202
    command = codec.decode(api.commands.messages[-1].body)[1]
    assert isinstance(command, UpdateVm)
    assert command.patch == {"placement": {"hosts": [], "forbid_labels": ["slow"]}}
    after = merged(row.spec.model_copy(update={"placement": WISHES}), command.patch).placement
    assert after == WISHES.model_copy(update={"hosts": (), "forbid_labels": ("slow",)})
    assert (await api.http.patch(PATH, json={"placement": None})).status_code == 202
    command = codec.decode(api.commands.messages[-1].body)[1]
    assert isinstance(command, UpdateVm)
    assert merged(row.spec.model_copy(update={"placement": WISHES}), command.patch) == row.spec


async def test_a_change_that_contradicts_what_is_wished_is_refused(api: Api) -> None:
    row = a_vm()
    api.know(row.model_copy(update={"spec": row.spec.model_copy(update={"placement": WISHES})}))
    answer = await api.http.patch(PATH, json={"placement": {"forbid_labels": ["rack"]}})
    refused(answer, 422, Code.INVALID_SPEC)
    assert answer.json()["detail"] == "placement: label 'rack=a' is required and forbidden"


WRONG = [
    ({"disks": [{"name": "d", "size_mib": 1, "colour": "red"}]}, "/disks/0/colour", "there is no such field"),
    ({"disks": [{"name": "d", "size_mib": "1"}]}, "/disks/0/size_mib", "should be a valid integer"),
    ({"disks": [{"name": "d"}]}, "/disks/0", "disk 'd' needs size_mib or base"),
    ({"disks": [{"size_mib": 1}]}, "/disks/0/name", "is needed"),
    ({"disks": [{"name": "d", "size_mib": 1, "format": "vmdk"}]}, "/disks/0/format", "should be 'qcow2' or"),
    ({"disks": {"name": "d", "size_mib": 1}}, "/disks", "should be a valid tuple"),
    ({"nics": [{"network": "br0"}, {"network": "a bridge"}]}, "/nics/1/network", "use 1 to 15 letters"),
    ({"nics": [{"network": "br0", "mac": "53:54:00:12:34:56"}]}, "/nics/0/mac", "use six pairs"),
    ({"placement": {"require_labels": ["SSD"]}}, "/placement/require_labels/0", "write NAME or NAME=VALUE"),
    ({"placement": {"hosts": ["rack-1"]}}, "/placement/hosts/0", "write a host's id"),
    ({"placement": {"groups": [{"name": "db"}]}}, "/placement/groups/0/rule", "is needed"),
    ({"placement": {"groups": [{"name": "db", "rule": "near"}]}}, "/placement/groups/0/rule", "should be"),
    ({"placement": {"label": "a"}}, "/placement/label", "there is no such field"),
    ({"graphics": "spice"}, "/graphics", "should be 'none' or 'vnc'"),
    ({"machine": "a b"}, "/machine", "use 1 to 64 letters"),
    ({"persistent": 1}, "/persistent", "should be a valid boolean"),
]


@pytest.mark.parametrize(("change", "pointer", "message"), WRONG)
async def test_a_wrong_field_is_named_in_depth(
    api: Api, change: dict[str, Any], pointer: str, message: str
) -> None:
    for answer in (await api.post("/vms", json=WEB | change), await api.http.patch(PATH, json=change)):
        (fault,) = answer.json()["errors"]
        assert (answer.status_code, fault["where"], fault["pointer"]) == (422, "body", pointer)
        assert fault["message"].startswith(message)
    assert not api.commands.messages


async def test_what_does_not_fit_together_is_said(api: Api) -> None:
    answer = await api.post("/vms", json=WEB | {"vcpus": 4, "vcpus_max": 2})
    assert answer.json()["detail"] == "the body: vcpus_max is 2, below vcpus, which is 4"
    twice = [{"name": "d", "size_mib": 1}, {"name": "d", "size_mib": 2}]
    assert "disk names must differ" in (await api.post("/vms", json=WEB | {"disks": twice})).json()["detail"]


def test_a_change_may_name_every_field_of_a_spec() -> None:
    assert UpdateVmBody.model_fields.keys() == VmSpec.model_fields.keys()


@pytest.mark.parametrize("kind", ["application/json", "application/merge-patch+json"])
async def test_a_change_is_accepted_as_it_was_sent(api: Api, kind: str) -> None:
    answer = await api.http.patch(
        PATH,
        content=b'{"vcpus": 2, "disks": [{"name": "d", "size_mib": 5}]}',
        headers={"Content-Type": kind, "Idempotency-Key": "k1"},
    )
    assert (answer.status_code, answer.json()["verb"]) == (202, "update")
    command = codec.decode(api.commands.messages[-1].body)[1]
    assert command == UpdateVm(vm_id=VM, patch={"vcpus": 2, "disks": [{"name": "d", "size_mib": 5}]})


async def test_null_is_the_default(api: Api) -> None:
    sent = {"machine": None, "graphics": None, "disks": None, "on_io_error": None, "agent_wait_s": None}
    assert (await api.http.patch(PATH, json=sent)).status_code == 202
    command = codec.decode(api.commands.messages[-1].body)[1]
    assert isinstance(command, UpdateVm)
    assert command.patch == {
        "machine": None,
        "graphics": "none",
        "disks": [],
        "on_io_error": "auto_resume",
        "agent_wait_s": 120.0,
    }


async def test_a_vm_keeps_its_name(api: Api) -> None:
    answer = await api.http.patch(PATH, json={"name": "web-09"})
    refused(answer, 422, Code.CANNOT_RENAME)
    assert answer.json()["detail"] == "web-01 cannot become web-09"
    assert not api.commands.messages
    assert (await api.http.patch(PATH, json={"name": "web-01", "vcpus": 2})).status_code == 202


@pytest.mark.parametrize(
    ("change", "pointer", "detail"),
    [
        ({"vcpus": 8}, "", "vcpus_max is 4, below vcpus, which is 8"),
        ({"vcpus": 0}, "/vcpus", "vcpus: should be greater than or equal to 1"),
        ({"memory_mib": None}, "/memory_mib", "memory_mib: should be a valid integer"),
        ({"priority": 101}, "/priority", "priority: should be less than or equal to 100"),
    ],
)
async def test_a_change_that_leaves_no_valid_vm_is_refused(
    api: Api, change: dict[str, Any], pointer: str, detail: str
) -> None:
    row = a_vm()
    api.know(row.model_copy(update={"spec": row.spec.model_copy(update={"vcpus_max": 4})}))
    answer = await api.http.patch(PATH, json=change)
    refused(answer, 422, Code.INVALID_SPEC)
    assert answer.json()["detail"] == detail
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]
    assert not api.commands.messages


async def test_a_change_that_was_accepted_is_not_checked_again(api: Api) -> None:
    headers = {"Idempotency-Key": "k1"}
    first = await api.http.patch(PATH, json={"vcpus": 8}, headers=headers)
    row = a_vm()
    api.know(row.model_copy(update={"spec": row.spec.model_copy(update={"vcpus_max": 4})}))
    api.know(an_operation(command_id("admin", "k1"), OperationState.SUCCEEDED, "update"))
    again = await api.http.patch(PATH, json={"vcpus": 8}, headers=headers)
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])


async def test_a_change_is_taken_on_trust_while_postgresql_is_away(api: Api) -> None:
    api.tables.away = True
    assert (await api.http.patch(PATH, json={"name": "web-09", "vcpus": 2})).status_code == 202


async def test_a_deleted_vm_takes_no_change(api: Api) -> None:
    api.know(a_vm(phase=VmPhase.DELETED))
    refused(await api.http.patch(PATH, json={"vcpus": 2}), 404, Code.NO_SUCH_VM)
