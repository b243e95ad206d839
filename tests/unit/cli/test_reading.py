"""What is listed is whole and plain where a program reads it, and names are found as people write them."""

import json
import os
from pathlib import Path

import pytest
import yaml

from services.cli import dispatch, main
from services.cli.core.exits import MEANINGS, Exit
from tests.unit.cli.conftest import HOST, OP, OTHER, VM, Roost, Server, host, page, problem, vm

NOWHERE = "http://127.0.0.1:1"


def test_a_list_is_aligned_ordered_and_uncut(roost: Roost) -> None:
    assert roost("vm", "list").out.splitlines() == [
        "NAME    PHASE    HOST    CPU  MEMORY   IMAGE  ID",
        f"web-01  running  host-1  2    1.5 GiB  tiny   {VM}",
        f"web-02  stopped  host-1  2    1.5 GiB  tiny   {OTHER}",
    ]


def test_an_empty_list_says_how_to_begin_without_disturbing_programs(roost: Roost, server: Server) -> None:
    server.answers["GET /vms"] = page()
    said = roost("vm", "list")
    assert said.out.startswith("NAME")
    assert "roost vm create" in said.err


def test_all_pages_are_read(roost: Roost, server: Server) -> None:
    first = {"items": [vm()], "next_cursor": VM}
    server.answers["GET /vms"] = [(200, first), page(vm(OTHER, "web-02"))]
    assert len(roost("vm", "list").out.splitlines()) == 3
    assert server.asked("GET /vms")[1][2]["cursor"] == VM


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["vm", "show", VM], "Possible now:  stop, power-off\n"),
        (["vm", "history", VM], "vm.placed"),
        (["host", "list"], "2 of 8"),
        (["host", "show", "host-1"], "2 cores, 6 GiB"),
        (["host", "show", HOST], "0.4 s ago"),
        (["op", "list"], OP),
        (["op", "show", OP], "vm.placed"),
        (["events", "--after", "3"], "vm.placed"),
        (["version"], "9.9.9"),
        (["help", "exit-codes"], "cannot be reached"),
        (["help", "no_host_fits"], "Exit code:    8 (no host fits)"),
        (["help"], "Usage: roost"),
    ],
)
def test_each_thing_can_be_looked_at(roost: Roost, arguments: list[str], shown: str) -> None:
    said = roost(*arguments)
    assert said.code == Exit.OK
    assert shown in said.out
    assert "\x1b" not in said.out


def test_json_and_yaml_are_the_body_of_the_api(roost: Roost) -> None:
    assert json.loads(roost("host", "show", HOST, "-o", "json").out) == host()
    assert yaml.safe_load(roost("-o", "yaml", "host", "show", HOST).out) == host()
    assert json.loads(roost("-o", "yaml", "vm", "show", VM, "-o", "json").out) == vm()


@pytest.mark.parametrize("named", ["web-01", VM, "vm_11111111", "11111111", "vm_11111111-1111-4"])
def test_a_vm_goes_by_name_id_or_the_beginning_of_an_id(roost: Roost, server: Server, named: str) -> None:
    if named == "web-01":
        server.answers["GET /vms"] = page(vm())
    elif not named.startswith("vm_"):
        server.answers["GET /vms"] = [page(), page(vm(), vm(OTHER, "web-02"))]
    assert json.loads(roost("vm", "show", named, "-o", "json").out)["id"] == VM


def test_a_slip_in_a_name_is_met_with_the_names_that_are_close(roost: Roost, server: Server) -> None:
    server.answers["GET /vms"] = [page(), page(vm(), vm(OTHER, "db"))]
    said = roost("vm", "show", "wbe-01")
    assert said.code == Exit.NOT_FOUND
    assert said.err.splitlines()[:2] == [
        "error: cannot show vm wbe-01: no VM wbe-01",
        "try:   did you mean web-01?  see `roost vm list`",
    ]


def test_the_beginning_of_two_ids_is_not_guessed_about(roost: Roost, server: Server) -> None:
    server.answers["GET /vms"] = page(vm(), vm(VM[:-1] + "2", "web-02"))
    said = roost("vm", "show", "vm_11111111")
    assert said.code == Exit.CONFLICT
    assert "begins the ids of 2 VMs" in said.err


def test_too_little_of_an_id_is_no_id(roost: Roost) -> None:
    assert roost("vm", "show", "vm_1111").code == Exit.NOT_FOUND


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        (problem(401, "unauthenticated"), Exit.DENIED),
        (problem(403, "forbidden"), Exit.DENIED),
        (problem(503, "read_model_unavailable"), Exit.UNREACHABLE),
        (problem(422, "bad_request"), Exit.USAGE),
        (problem(500, "internal"), Exit.FAILED),
        (problem(507, "log_full"), Exit.UNREACHABLE),
        ((200, []), Exit.UNREACHABLE),
        ((502, {"message": "bad gateway"}), Exit.UNREACHABLE),
    ],
)
def test_a_refusal_has_its_number_and_no_trace(
    roost: Roost, server: Server, answer: tuple[int, dict[str, object]], number: Exit
) -> None:
    server.answers["GET /hosts"] = answer
    said = roost("host", "list")
    assert said.code == number
    assert said.err.startswith("error: cannot list hosts: ")
    assert "Traceback" not in said.err


def test_nobody_there_is_said_so_in_either_format(roost: Roost) -> None:
    said = roost("--url", NOWHERE, "vm", "list")
    assert said.code == Exit.UNREACHABLE
    assert said.err.startswith(f"error: cannot list VMs: no answer from {NOWHERE}: connection refused\ntry:")
    said = roost("--url", NOWHERE, "-o", "json", "vm", "list")
    assert (said.code, json.loads(said.out)["title"]) == (Exit.UNREACHABLE, "The server cannot be reached")


@pytest.mark.parametrize(
    "arguments",
    [
        ["vm", "create", "x"],
        ["vm", "create", "x", "--image", "tiny", "--memory", "lots"],
        ["vm", "create", "x", "--image", "tiny", "--disk", "data"],
        ["vm", "create", "x", "--image", "tiny", "--nic", "br0,"],
        ["vm", "create", "x", "--image", "tiny", "--on-io-error", "hope"],
        ["vm", "update", VM],
        ["vm", "update", VM, "--disk", "data:1G"],
        ["vm", "start", VM, "--timeout", "soon"],
        ["nothing"],
        ["--url", "nonsense", "vm", "list"],
    ],
)
def test_a_wrong_command_line_ends_with_two(roost: Roost, server: Server, arguments: list[str]) -> None:
    said = roost(*arguments)
    assert (said.code, server.seen) == (Exit.USAGE, [])
    assert said.err


@pytest.mark.parametrize(
    ("setting", "allowed"),
    [
        ("ROOST_URL=http://127.0.0.1:99999", "a port up to 65535"),
        ("ROOST_URL=http://127.0.0.1:80/ключ", "in ASCII"),
        (f"ROOST_URL=http://{'a' * 64}.example", "is no address"),
        ("ROOST_URL=http://[::1", "is no address"),
        ("ROOST_TOKEN=two\nlines", "one line of printable ASCII"),
        ("ROOST_TOKEN=ключ", "one line of printable ASCII"),
        ("ROOST_TOKEN_FILE=token", "this is no text"),
    ],
)
def test_a_setting_that_cannot_be_sent_is_named(
    roost: Roost, server: Server, monkeypatch: pytest.MonkeyPatch, setting: str, allowed: str
) -> None:
    variable, _, value = setting.partition("=")
    Path("token").write_bytes(b"\xff\xfe")
    if variable == "ROOST_TOKEN_FILE":
        monkeypatch.delenv("ROOST_TOKEN")
    monkeypatch.setenv(variable, value)
    said = roost("vm", "list")
    assert (said.code, server.seen) == (Exit.USAGE, [])
    assert f"\nError: {variable}" in said.err
    assert allowed in said.err
    assert variable == "ROOST_URL" or "lines" not in said.err, "a token is not shown"


@pytest.mark.parametrize("key", ["ключ", "two words", "", "k" * 256])
def test_a_key_that_cannot_be_sent_is_refused(roost: Roost, server: Server, key: str) -> None:
    said = roost("vm", "start", VM, "--key", key)
    assert (said.code, server.seen) == (Exit.USAGE, [])
    assert "--key" in said.err
    assert "1 to 255 visible ASCII characters" in said.err


def test_an_address_from_the_command_line_is_named_by_its_option(roost: Roost) -> None:
    said = roost("--url", "http://127.0.0.1:99999", "vm", "list")
    assert (said.code, "\nError: --url:" in said.err) == (Exit.USAGE, True)


def test_a_host_that_nobody_has_heard_yet_is_shown_as_unknown(roost: Roost, server: Server) -> None:
    server.answers["GET /hosts"] = page(host() | {"state": "unknown", "last_heartbeat_age_s": None})
    assert "unknown" in roost("host", "list").out


def test_a_defect_shows_its_trace_only_when_asked(roost: Roost, server: Server) -> None:
    server.answers["GET /hosts"] = page({"name": "half a host"})
    assert "Traceback" not in (said := roost("host", "list")).err
    assert said.code == Exit.FAILED
    assert "Traceback" in roost("--debug", "host", "list").err


def test_the_folder_of_roost_dev_tells_where_and_as_whom(
    roost: Roost, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ROOST_URL")
    monkeypatch.delenv("ROOST_TOKEN")
    Path(".roost-dev").mkdir()
    Path(".roost-dev/url").write_text(f"{server.url}\n")
    Path(".roost-dev/token").write_text("from the folder\n")
    assert roost("vm", "list").code == Exit.OK
    assert server.seen[-1][1]["Authorization"] == "Bearer from the folder"
    Path("token").write_text("from a file\n")
    monkeypatch.setenv("ROOST_TOKEN_FILE", "token")
    roost("vm", "list")
    assert server.seen[-1][1]["Authorization"] == "Bearer from a file"
    monkeypatch.setenv("ROOST_TOKEN_FILE", "missing")
    assert roost("vm", "list").code == Exit.USAGE


def test_dispatchers_become_their_program(roost: Roost, monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, arguments: became.append(arguments[1:]))
    for name, (module, _) in dispatch.PROGRAMS.items():
        assert roost(name, "--help", "-x", "rebuild").code == Exit.OK
        assert became[-1] == ["-m", module, "--help", "-x", "rebuild"]


def test_every_exit_code_is_in_the_help(roost: Roost) -> None:
    said = roost("--help")
    assert all(f"{int(code):>3}  {meaning}" in said.out for code, meaning in MEANINGS.items())
    assert main.EPILOG
