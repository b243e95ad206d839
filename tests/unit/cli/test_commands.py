"""Commands wait, say what happens as it happens, and end with a number that scripts can trust."""

import json
import time

import pytest

from services.cli import follow
from services.cli.core.complaint import outcome_unknown
from services.cli.core.exits import Exit
from services.cli.core.units import show_clock
from tests.unit.cli.conftest import NOON, OP, VM, Roost, Server, operation, page, problem, vm

START = f"POST /vms/{VM}/actions/start"
STOP = f"POST /vms/{VM}/actions/stop"


def test_a_start_shows_its_operation_at_once_its_steps_and_its_end(roost: Roost) -> None:
    said = roost("vm", "start", VM)
    assert (said.code, said.out) == (Exit.OK, "")
    assert said.err.splitlines() == [
        f"operation {OP}",
        f"  {show_clock(NOON)}  vm.placed             #9",
        f"vm {VM} started after 250 ms",
    ]


def test_a_create_prints_the_id_of_its_vm_and_nothing_else_on_standard_output(
    roost: Roost, server: Server
) -> None:
    said = roost("vm", "create", "web-03", "--image", "tiny", "--cpu", "2", "--memory", "1.5G")
    assert (said.code, said.out) == (Exit.OK, f"{VM}\n")
    (asked,) = server.asked("POST /vms")
    assert asked[3] == {"name": "web-03", "vcpus": 2, "memory_mib": 1536, "image": "tiny"}


@pytest.mark.parametrize(
    ("options", "grace_s"), [([], 60), (["--grace", "2m"], 120), (["--force"], 0), (["--grace", "0"], 0)]
)
def test_a_stop_says_how_long_the_guest_may_take(
    roost: Roost, server: Server, options: list[str], grace_s: float
) -> None:
    assert roost("vm", "stop", VM, *options).code == Exit.OK
    assert server.asked(STOP)[0][3] == {"grace_s": grace_s}


def test_a_delete_is_sent(roost: Roost, server: Server) -> None:
    assert roost("vm", "delete", VM).code == Exit.OK
    assert len(server.asked(f"DELETE /vms/{VM}")) == 1


def test_each_command_carries_a_key_of_its_own_or_the_one_given(roost: Roost, server: Server) -> None:
    for options in ([], [], ["--key", "mine"]):
        roost("vm", "start", VM, *options)
    keys = [headers["Idempotency-Key"] for _, headers, _, _ in server.asked(START)]
    assert len(set(keys)) == 3
    assert keys[2] == "mine"


def test_without_waiting_the_id_is_all(roost: Roost, server: Server) -> None:
    said = roost("vm", "start", VM, "--no-wait")
    assert (said.code, said.out, said.err) == (Exit.OK, f"{OP}\n", "")
    assert not server.asked(f"GET /operations/{OP}")


def test_an_operation_that_is_not_projected_yet_is_still_waited_for(roost: Roost, server: Server) -> None:
    server.answers[f"GET /operations/{OP}"] = [
        problem(404, "no_such_operation"),
        (200, operation("running")),
        (200, operation()),
    ]
    assert roost("vm", "start", VM).code == Exit.OK


def test_nothing_to_do_is_said_and_is_a_success(roost: Roost, server: Server) -> None:
    server.answers[f"GET /operations/{OP}"] = (200, operation(note="the VM is running already"))
    said = roost("vm", "start", VM)
    assert said.code == Exit.OK
    assert said.err.endswith("the VM is running already; nothing was changed\n")


def failed(code: str, **more: object) -> dict[str, object]:
    error = problem(409, code, **more)[1]  # type: ignore[arg-type]
    error.pop("request_id")
    return operation("failed", error=error)


@pytest.mark.parametrize(
    ("code", "number"),
    [
        ("no_host_fits", Exit.NO_PLACE),
        ("wrong_phase", Exit.CONFLICT),
        ("superseded", Exit.CONFLICT),
        ("no_such_vm", Exit.NOT_FOUND),
        ("hypervisor_refused", Exit.FAILED),
        ("guest_stopped", Exit.FAILED),
        ("from_the_future", Exit.FAILED),
    ],
)
def test_a_failed_operation_ends_with_the_number_of_its_reason(
    roost: Roost, server: Server, code: str, number: Exit
) -> None:
    server.answers[f"GET /operations/{OP}"] = (200, failed(code))
    assert roost("vm", "start", VM).code == number


def test_a_refusal_by_all_hosts_names_each_of_them(roost: Roost, server: Server) -> None:
    refusals = [
        {"host": "host-1", "filter": "memory", "needs": "16 GiB", "has": "9 GiB"},
        {"host": "host-10", "filter": "cpu", "needs": "8", "has": "2"},
    ]
    server.answers[f"GET /operations/{OP}"] = (
        200,
        failed("no_host_fits", detail="none of 2 hosts can", refusals=refusals),
    )
    server.answers["GET /vms"] = page(vm())
    said = roost("vm", "start", "web-01")
    assert said.out == ""
    assert said.err.splitlines()[-5:] == [
        "error: cannot start vm web-01: none of 2 hosts can",
        "  host-1   memory  needs 16 GiB, has 9 GiB",
        "  host-10  cpu     needs 8, has 2",
        "try:   do something else",
        f"more:  roost help no_host_fits    operation {OP}",
    ]


def test_of_many_refusals_some_are_shown_and_all_are_counted(roost: Roost, server: Server) -> None:
    refusals = [{"host": "host-1", "filter": "memory", "needs": "16 GiB", "has": "9 GiB"}]
    counts = {"memory": 700, "vcpus": 300}
    server.answers[f"GET /operations/{OP}"] = (200, failed("no_host_fits", refusals=refusals, refused=counts))
    said = roost("vm", "start", VM).err
    assert "\n  host-1  memory  needs 16 GiB, has 9 GiB\n  in all 1000 hosts: memory 700, vcpus 300\n" in said


def test_hosts_that_were_tried_before_are_named_with_what_they_said(roost: Roost, server: Server) -> None:
    tried = [{"host": "host-1", "message": "no such machine type"}]
    server.answers[f"GET /operations/{OP}"] = (200, failed("hypervisor_refused", elsewhere=tried))
    assert "\n  host-1  tried before  no such machine type\n" in roost("vm", "start", VM).err


def test_with_json_a_failure_is_the_problem_on_standard_output(roost: Roost, server: Server) -> None:
    server.answers[f"GET /operations/{OP}"] = (200, failed("wrong_phase"))
    said = roost("vm", "start", VM, "-o", "json")
    assert said.code == Exit.CONFLICT
    assert json.loads(said.out)["code"] == "wrong_phase"
    assert json.loads(said.out)["operation"] == OP
    assert "error:" not in said.err


def test_with_json_a_success_is_the_operation(roost: Roost) -> None:
    assert json.loads(roost("-o", "json", "vm", "start", VM).out) == operation()


def test_a_wait_that_is_over_says_that_the_operation_is_not(roost: Roost, server: Server) -> None:
    server.answers[f"GET /operations/{OP}"] = (200, operation("running"))
    said = roost("vm", "start", VM, "--timeout", "0.05s")
    assert said.code == Exit.STILL_RUNNING
    assert said.err.endswith(f"still running after 50 ms\noperation continues: roost op wait {OP}\n")


def test_an_interrupt_detaches_and_says_how_to_come_back(
    roost: Roost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(follow.Progress, "waiting", interrupt)
    said = roost("vm", "start", VM)
    assert said.code == Exit.INTERRUPTED
    assert said.err.endswith(f"operation continues: roost op wait {OP}\n")


def test_a_server_that_is_away_for_a_moment_gets_the_same_request_again(roost: Roost, server: Server) -> None:
    away = problem(503, "log_unavailable", "no leader")
    server.answers[START] = [away, (202, operation("pending"))]
    said = roost("vm", "start", VM)
    assert said.code == Exit.OK
    (key,) = {headers["Idempotency-Key"] for _, headers, _, _ in server.asked(START)}
    assert said.err.startswith(f"no leader\ntrying again for 0.5 s under the same key: --key {key}\n")
    assert len({headers["Idempotency-Key"] for _, headers, _, _ in server.asked(START)}) == 1


def test_a_server_that_stays_away_is_given_up(roost: Roost, server: Server) -> None:
    server.answers[START] = problem(503, "log_unavailable", "event log: not connected")
    said = roost("vm", "start", VM)
    assert said.code == Exit.UNREACHABLE
    assert len(server.asked(START)) > 1
    key = server.asked(START)[0][1]["Idempotency-Key"]
    assert said.err.splitlines()[2:] == [
        f"error: cannot start vm {VM}: event log: not connected",
        "try:   do something else",
        f"key:   {outcome_unknown(key)}",
        "more:  roost help log_unavailable    request req_1",
    ]
    assert f"`--key {key}`" in said.err
    assert (
        json.loads(roost("vm", "start", VM, "--key", "mine", "-o", "json").out)["idempotency_key"] == "mine"
    )


def test_a_key_that_a_shell_would_read_is_told_in_quotes(roost: Roost, server: Server) -> None:
    server.answers[START] = problem(500, "internal")
    assert "`--key '$(ls)'`" in roost("vm", "start", VM, "--key", "$(ls)").err


def test_a_server_without_time_gets_the_same_request_again(roost: Roost, server: Server) -> None:
    busy = (503, {"message": "Service Unavailable"})
    server.answers[START] = [busy, (202, operation("pending"))]
    assert roost("vm", "start", VM).code == Exit.OK
    server.answers[START] = busy
    said = roost("vm", "start", VM)
    assert (said.code, len(server.asked(START)) > 3) == (Exit.UNREACHABLE, True)
    assert "answered 503 without a reason" in said.err


def test_an_interrupt_while_a_command_is_sent_says_how_to_repeat_it(
    roost: Roost, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    server.answers[START] = problem(503, "log_unavailable")
    monkeypatch.setattr(time, "sleep", interrupt)
    said = roost("vm", "start", VM)
    assert said.code == Exit.INTERRUPTED
    key = server.asked(START)[0][1]["Idempotency-Key"]
    assert said.err.endswith(f"\ninterrupted; {outcome_unknown(key)}\n")


def test_what_will_not_pass_is_not_tried_again(roost: Roost, server: Server) -> None:
    server.answers[START] = problem(422, "key_reused")
    said = roost("vm", "start", VM)
    assert said.code == Exit.CONFLICT
    assert "key:" not in said.err
    assert len(server.asked(START)) == 1


def test_an_operation_can_be_waited_for_later(roost: Roost) -> None:
    said = roost("op", "wait", OP)
    assert said.code == Exit.OK
    assert said.err.endswith(f"vm {VM} started after 250 ms\n")
