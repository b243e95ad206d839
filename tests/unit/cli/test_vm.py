"""What a VM is, how it runs and what was made of it: as people write it, and as they read it."""

import json

import pytest

from services.cli.core import devices
from services.cli.core.exits import Exit
from tests.unit.cli.conftest import HOST, OP, VM, Json, Roost, Server, effective, operation, problem, spec, vm

SHOW = f"GET /vms/{VM}"


def test_a_create_takes_all_that_a_vm_can_be(roost: Roost, server: Server) -> None:
    line = (
        "vm create web-03 --image tiny --cpus 2 --memory 1G --max-cpus 4 --machine q35 --cpu-model host-model"
        " --disk data:10G:raw:fast --disk root:from=debian --nic br0,52:54:00:AA:00:01 --nic br1"
        " --graphics vnc --transient --on-io-error leave-paused --agent-wait 30s --priority 70 --ha"
    )
    assert roost(*line.split()).code == Exit.OK
    ((_, _, _, body),) = server.asked("POST /vms")
    assert body == {
        "name": "web-03",
        "vcpus": 2,
        "memory_mib": 1024,
        "image": "tiny",
        "vcpus_max": 4,
        "machine": "q35",
        "cpu_model": "host-model",
        "disks": [
            {"name": "data", "size_mib": 10240, "format": "raw", "storage": "fast"},
            {"name": "root", "base": "debian"},
        ],
        "nics": [{"network": "br0", "mac": "52:54:00:aa:00:01"}, {"network": "br1"}],
        "graphics": "vnc",
        "persistent": False,
        "on_io_error": "leave_paused",
        "agent_wait_s": 30,
        "priority": 70,
        "highly_available": True,
    }


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("d:512", {"name": "d", "size_mib": 512}),
        ("d:1G:qcow2", {"name": "d", "size_mib": 1024, "format": "qcow2"}),
        ("d:1G:fast", {"name": "d", "size_mib": 1024, "storage": "fast"}),
        ("d:1G:1tb", {"name": "d", "size_mib": 1024, "storage": "1tb"}),
        ("d:from=tiny:2G", {"name": "d", "base": "tiny", "size_mib": 2048}),
        ("d:from=tiny:fast", {"name": "d", "base": "tiny", "storage": "fast"}),
        ("d:from=tiny:raw:fast", {"name": "d", "base": "tiny", "format": "raw", "storage": "fast"}),
    ],
)
def test_a_disk_is_read_as_people_write_it(text: str, found: Json) -> None:
    assert devices.disk(text) == found


@pytest.mark.parametrize("text", ["", "d", ":1G", "d:raw", "d:lots", "d:1G:raw:raw", "d:1G:fast:slow"])
def test_a_disk_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write "):
        devices.disk(text)


def test_a_start_holds_for_one_run_what_was_asked_for(roost: Roost, server: Server) -> None:
    options = ["--paused", "--host", "host-1", "--boot", "cd, disk", "--cd", "rescue", "--cmdline", "a=1 b"]
    assert roost("vm", "start", VM, *options).code == Exit.OK
    assert roost("vm", "start", VM).code == Exit.OK
    once = {"host": "host-1", "boot": ["cd", "disk"], "cd": "rescue", "cmdline": "a=1 b"}
    bodies = [body for _, _, _, body in server.asked(f"POST /vms/{VM}/actions/start")]
    assert bodies == [{"paused": True, "once": once}, None]


@pytest.mark.parametrize(
    ("line", "body", "done"),
    [
        ("power-off", None, "powered off"),
        ("reboot", {"grace_s": 60}, "rebooted"),
        ("reboot --grace 0", {"grace_s": 0}, "rebooted"),
        ("reset", None, "reset"),
        ("pause", None, "paused"),
        ("resume", None, "resumed"),
    ],
)
def test_each_verb_is_sent_and_says_what_was_done(
    roost: Roost, server: Server, line: str, body: Json | None, done: str
) -> None:
    action, *options = line.split()
    said = roost("vm", action, VM, *options)
    assert (said.code, said.err.splitlines()[-1]) == (Exit.OK, f"vm {VM} {done} after 250 ms")
    ((_, _, _, sent),) = server.asked(f"POST /vms/{VM}/actions/{action}")
    assert sent == body


def test_a_delete_may_keep_the_disks(roost: Roost, server: Server) -> None:
    roost("vm", "delete", VM, "--keep-disks")
    roost("vm", "delete", VM)
    assert [query for _, _, query, _ in server.asked(f"DELETE /vms/{VM}")] == [{"keep_disks": "true"}, {}]


UPDATE = ["vm", "update", VM, "--cpus", "4", "--memory", "1G", "--machine", "q35", "--on-io-error", "kill"]


@pytest.mark.parametrize(
    ("now", "told"),
    [
        (
            vm(pending_changes=["vcpus", "machine"], allowed_verbs=["reboot"]),
            [
                "  in effect now:         memory, on-io-error",
                "  with its next start:   cpus, machine; to have it now: roost vm reboot web-01",
            ],
        ),
        (
            vm(phase="paused", pending_changes=["vcpus", "memory_mib", "machine", "on_io_error"]),
            ["  with its next start:  cpus, memory, machine, on-io-error"],
        ),
        (vm(), ["  in effect now:  cpus, memory, machine, on-io-error"]),
        (vm(phase="stopped"), ["  with its next start:  cpus, memory, machine, on-io-error"]),
    ],
)
def test_an_update_says_what_holds_at_once_and_what_waits(
    roost: Roost, server: Server, now: Json, told: list[str]
) -> None:
    server.answers[SHOW] = (200, now)
    said = roost(*UPDATE)
    assert (said.code, said.out) == (Exit.OK, "")
    shown = [" ".join(line.split()) for line in said.err.splitlines()[2:]]
    assert shown == [f"vm {VM} updated after 250 ms", *(" ".join(line.split()) for line in told)]
    ((_, _, _, patch),) = server.asked(f"PATCH /vms/{VM}")
    assert patch == {"vcpus": 4, "memory_mib": 1024, "machine": "q35", "on_io_error": "kill"}


def test_an_update_with_nothing_to_change_says_so_and_no_more(roost: Roost, server: Server) -> None:
    server.answers[f"GET /operations/{OP}"] = (200, operation(note="the VM is as it was asked to be already"))
    said = roost("vm", "update", VM, "--cpus", "2")
    assert said.err.endswith("the VM is as it was asked to be already; nothing was changed\n")
    assert not server.asked(SHOW)


def test_wishes_are_sent_with_the_ids_of_the_hosts_that_were_named(roost: Roost, server: Server) -> None:
    line = (
        "--require-label ssd --require-label rack=a --forbid-label gpu --on-host host-1"
        " --apart db --rather-together app"
    )
    assert roost("vm", "create", "web-03", "--image", "tiny", *line.split()).code == Exit.OK
    ((_, _, _, body),) = server.asked("POST /vms")
    assert body["placement"] == {
        "require_labels": ["ssd", "rack=a"],
        "forbid_labels": ["gpu"],
        "hosts": [HOST],
        "groups": [
            {"name": "db", "rule": "apart", "hard": True},
            {"name": "app", "rule": "together", "hard": False},
        ],
    }
    assert roost("vm", "create", "web-03", "--image", "tiny", "--on-host", "host-9").code == Exit.NOT_FOUND


def test_an_update_replaces_the_wishes_that_it_names_or_all(roost: Roost, server: Server) -> None:
    server.answers[SHOW] = (200, vm(pending_changes=["placement"], allowed_verbs=["reboot"]))
    said = roost("vm", "update", VM, "--prefer-host", HOST)
    assert "with its next start:  wishes; to have it now: roost vm reboot web-01" in said.err
    roost("vm", "update", VM, "--no-wishes", "--rather-apart", "db")
    bodies = [body["placement"] for _, _, _, body in server.asked(f"PATCH /vms/{VM}")]
    soft = [{"name": "db", "rule": "apart", "hard": False}]
    nothing = dict.fromkeys(("require_labels", "forbid_labels", "hosts", "prefer_hosts"))
    assert bodies == [{"prefer_hosts": [HOST]}, {**nothing, "groups": soft}]


def test_wishes_are_shown_with_the_names_of_hosts(roost: Roost, server: Server) -> None:
    gone = "host_55555555-5555-4555-8555-555555555555"
    wishes = {
        "require_labels": ["rack=a", "ssd"],
        "forbid_labels": ["gpu"],
        "hosts": [HOST, gone],
        "prefer_hosts": [],
        "groups": [
            {"name": "db", "rule": "apart", "hard": True},
            {"name": "app", "rule": "together", "hard": False},
        ],
    }
    server.answers[SHOW] = (200, vm(spec=spec(placement=wishes)))
    assert [" ".join(line.split()) for line in shown(roost)["Wish"]] == [
        "with label rack=a, ssd",
        "without label gpu",
        f"only on host-1, {gone}",
        "apart group db",
        "rather together group app",
    ]


def shown(roost: Roost, *options: str) -> dict[str, list[str]]:
    """The lines of one VM, by their names."""
    found: dict[str, list[str]] = {}
    for line in roost("vm", "show", VM, *options).out.splitlines():
        name, _, value = line.partition(":")
        found.setdefault(name, []).append(value.strip())
    return found


def test_a_vm_is_shown_whole(roost: Roost, server: Server) -> None:
    disks = [
        {"name": "data", "size_mib": 10240, "base": None, "format": "raw", "storage": "fast"},
        {"name": "root", "size_mib": None, "base": "debian", "format": "qcow2", "storage": "default"},
    ]
    nics = [{"network": "br0", "mac": "52:54:00:12:34:56"}, {"network": "br1", "mac": None}]
    asked = spec(vcpus_max=4, disks=disks, nics=nics, machine="q35", persistent=False)
    paused = vm(
        phase="paused", pause_cause="no_space", agent=False, spec=asked, pending_changes=["vcpus_max"]
    )
    server.answers[SHOW] = (200, paused)
    found = shown(roost)
    assert found["Phase"] == ["paused (no space)"]
    assert found["CPU"] == ["2, at most 4"]
    assert [line.split() for line in found["Disk"]] == [
        ["data", "10", "GiB", "empty", "raw", "in", "fast"],
        ["root", "as", "large", "as", "its", "image", "from", "debian", "qcow2", "in", "default"],
    ]
    assert [line.split()[0] for line in found["NIC"]] == ["br0", "br1"]
    assert found["Next start"] == ["takes over max-cpus"]
    assert found["On I/O error"] == ["auto-resume"]
    assert found["When stopped"] == ["forgotten by the hypervisor"]
    assert found["Agent"] == ["not connected"]


def test_a_vm_that_does_not_answer_shows_so_in_the_list(roost: Roost, server: Server) -> None:
    server.answers["GET /vms"] = (200, {"items": [vm(responding=False)], "next_cursor": None})
    assert "running (not responding)" in roost("vm", "list").out


def test_what_was_wrong_with_the_last_start_is_shown_whole(roost: Roost, server: Server) -> None:
    failures = [
        {"step": "validate", "code": "image", "message": "no image tiny"},
        {"step": "devices", "code": "network", "message": "no bridge br7"},
    ]
    failed: Json = {
        "message": "2 things",
        "failures": failures,
        "log_tail": "qemu: 1\nqemu: 2\n",
    }
    server.answers[SHOW] = (200, vm(phase="stopped", last_failure=failed))
    assert roost("vm", "show", VM).out.splitlines()[-6:] == [
        "  what was wrong with the last start:",
        "    validate  image    no image tiny",
        "    devices   network  no bridge br7",
        "  the end of QEMU's log:",
        "    qemu: 1",
        "    qemu: 2",
    ]
    server.answers[f"GET /operations/{OP}"] = (
        200,
        operation("failed", error=problem(502, "hypervisor_refused", failures=failures)[1]),
    )
    said = roost("vm", "start", VM)
    assert said.code == Exit.FAILED
    assert "\n  validate  image    no image tiny\n  devices   network  no bridge br7\n" in said.err


def test_what_the_hypervisor_has_is_shown_and_of_which_run(roost: Roost, server: Server) -> None:
    server.answers[SHOW] = (200, vm(effective=effective()))
    found = shown(roost, "--effective")
    assert found["Run"] == ["running on host-1"]
    assert found["CPU"] == ["2, at most 4"]
    assert [line.split() for line in found["Disk"]] == [
        ["vda", "image", "qcow2", "/i.qcow2"],
        ["sda", "rescue", "raw", "/r.iso", "read-only"],
    ]
    assert found["NIC"] == ["br0  52:54:00:12:34:56  virtio"]
    server.answers[SHOW] = (200, vm(phase="stopped", host=None, effective=effective()))
    assert shown(roost, "--effective")["Run"] == ["the last one; the VM is stopped"]
    assert json.loads(roost("vm", "show", VM, "--effective", "-o", "json").out) == effective()


@pytest.mark.parametrize(
    ("generation", "why"), [(0, "it has never run"), (1, "nothing was read back since its last start")]
)
def test_what_was_never_read_back_is_said_so(roost: Roost, server: Server, generation: int, why: str) -> None:
    server.answers[SHOW] = (200, vm(phase="stopped", host=None, generation=generation))
    said = roost("vm", "show", VM, "--effective")
    assert (said.code, said.out, said.err) == (Exit.OK, "", f"vm web-01: {why}\n")
    assert roost("vm", "show", VM, "--effective", "-o", "json").out == "null\n"


def test_the_table_of_verbs_is_printed(roost: Roost) -> None:
    said = roost("vm", "verbs")
    assert said.out.splitlines() == ["VERB       STOPPED  RUNNING", "power-off  no need  yes"]
    assert said.err.startswith("yes: done;")
    assert json.loads(roost("vm", "verbs", "-o", "json").out)["verbs"]["power_off"]["running"] == "do"
