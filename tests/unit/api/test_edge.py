"""Every request is met at the door: authorized, bounded, identified, and answered whatever happens."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from events.codes import Code
from services.api.core.ids import show_vm
from services.api.edge import BODY_MAX
from services.api.openapi import document
from tests.unit.api.conftest import Api
from tests.unit.api.rows import VM

OPEN = {
    "/livez",
    "/readyz",
    "/version",
    "/api/v1/openapi.json",
    "/docs/errors",
    "/schemas/{name}.json",
}
FROZEN = Path(__file__).parents[3] / "docs" / "openapi.json"


def operations(api: Api) -> list[tuple[str, str, dict[str, Any]]]:
    """List method, path and description of all that the application answers."""
    paths = api.app.openapi()["paths"]
    return [(method, path, one) for path, item in paths.items() for method, one in item.items()]


def reachable(app: FastAPI) -> list[tuple[str, str]]:
    """List method and path of every route, described or not, however deep it is mounted."""
    return [
        (method, str(context.path))
        for context in iter_route_contexts(app.routes)
        for method in (context.methods or set()) - {"HEAD"}
    ]


async def test_every_path_but_the_open_ones_wants_a_token(api: Api) -> None:
    api.http.headers.pop("Authorization")
    found = reachable(api.app)
    for method, path in found:
        answer = await api.http.request(
            method, path.replace("{name}", "vm.placed.v1").replace("{", "").replace("}", "")
        )
        if path in OPEN:
            assert answer.status_code == 200, path
        else:
            assert (answer.status_code, answer.json()["code"]) == (401, Code.UNAUTHENTICATED), path
            assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert {path for _, path in found} > OPEN
    assert {path for _, path, _ in operations(api)} <= {path for _, path in found}
    unread = await api.http.post("/api/v1/vms", content=b"{", headers={"Content-Type": "application/json"})
    assert unread.status_code == 401, "a body was read before it was asked who sent it"
    for gone in ("/docs", "/redoc"):
        assert (await api.http.get(gone)).status_code == 404


def test_every_route_asks_for_the_right_to_do_what_it_is_called(api: Api) -> None:
    for method, path, described in operations(api):
        if path not in OPEN:
            assert described["security"] == [{"HTTPBearer": []}], (method, path)


@pytest.mark.parametrize("sent", ["", "Bearer", "Bearer wrong", "Basic bGV0LW1lLWlu", "bearer  "])
async def test_a_wrong_token_is_refused(api: Api, sent: str) -> None:
    answer = await api.get("/vms", headers={"Authorization": sent})
    assert (answer.status_code, answer.json()["code"]) == (401, Code.UNAUTHENTICATED)


async def test_a_request_keeps_its_id(api: Api) -> None:
    sent = await api.get("/vms", headers={"X-Request-Id": "mine-1"})
    assert sent.headers["X-Request-Id"] == "mine-1"
    answer = await api.get("/nothing", headers={"X-Request-Id": "no good\tid"})
    assert answer.headers["X-Request-Id"].startswith("req_")
    assert answer.json()["request_id"] == answer.headers["X-Request-Id"]


async def test_a_wrong_method_names_the_right_ones(api: Api) -> None:
    answer = await api.http.put("/api/v1/vms")
    assert (answer.status_code, answer.json()["code"]) == (405, Code.WRONG_METHOD)
    assert answer.headers["Allow"]


@pytest.mark.parametrize(
    ("body", "pointer", "message"),
    [
        ({"name": "Web"}, "/name", "use 1 to 63 lower-case letters, digits and hyphens"),
        ({"vcpus": 0}, "/vcpus", "should be greater than or equal to 1"),
        ({"vcpus": "1"}, "/vcpus", "should be a valid integer"),
        ({"memory_mib": True}, "/memory_mib", "should be a valid integer"),
        ({"colour": "red"}, "/colour", "there is no such field"),
        ({"image": None}, "/image", "should be a valid string"),
    ],
)
async def test_a_wrong_field_is_named(api: Api, body: dict[str, Any], pointer: str, message: str) -> None:
    good = {"name": "web-02", "vcpus": 1, "memory_mib": 512, "image": "tiny"}
    answer = await api.post("/vms", json=good | body)
    (fault,) = answer.json()["errors"]
    assert (answer.status_code, fault["where"], fault["pointer"]) == (422, "body", pointer)
    assert fault["message"].startswith(message)
    assert not api.commands.messages


async def test_several_wrong_fields_are_all_named(api: Api) -> None:
    answer = await api.post("/vms", json={"name": "web-02"})
    assert answer.json()["detail"] == "vcpus, memory_mib and image are not valid"
    assert [fault["message"] for fault in answer.json()["errors"]] == ["is needed"] * 3


async def test_wrong_parameters_are_named(api: Api) -> None:
    start = f"/vms/{show_vm(VM)}/actions/start"
    answers = [
        await api.post(start, params={"wait": 61}),
        await api.post(start, key="with space"),
        await api.post(start, key="k" * 256),
        await api.get("/vms", params={"limit": 0}),
    ]
    where = [(one.status_code, one.json()["errors"][0]["where"]) for one in answers]
    assert where == [(422, "query"), (422, "header"), (422, "header"), (422, "query")]


async def test_what_is_no_json_is_said_so(api: Api) -> None:
    answer = await api.post("/vms", content=b"{")
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "")


async def test_a_body_has_a_bound(api: Api) -> None:
    async def endless() -> Any:
        for _ in range(BODY_MAX // 1024 + 1):
            yield b" " * 1024

    for content in (b" " * (BODY_MAX + 1), endless()):
        answer = await api.post("/vms", content=content)
        assert (answer.status_code, answer.json()["code"]) == (413, Code.BAD_REQUEST)


async def test_a_defect_is_owned_up_to_without_its_trace(api: Api) -> None:
    api.tables.vms = None  # type: ignore[assignment]  # the defect
    with capture_logs(processors=[merge_contextvars]) as logged:
        answer = await api.get("/vms")
    assert (answer.status_code, answer.json()["code"]) == (500, Code.INTERNAL)
    assert "NoneType" not in answer.text
    told = logged[0]
    assert (told["event"], told["request_id"]) == ("request_failed", answer.json()["request_id"])
    assert told["exc_info"]


async def test_ready_says_which_part_is_not(api: Api) -> None:
    assert (await api.http.get("/readyz")).json() == {"ready": True, "parts": None}
    api.tables.away = True
    answer = await api.http.get("/readyz?verbose")
    assert answer.status_code == 503
    assert answer.json()["parts"]["NATS"] == "ok"
    assert answer.json()["parts"]["PostgreSQL"] != "ok"


async def test_ready_is_answered_though_a_probe_has_a_defect(api: Api) -> None:
    async def defect() -> None:
        raise ZeroDivisionError("by zero")

    api.app.state.parts = replace(api.app.state.parts, probes={"NATS": defect})
    answer = await api.http.get("/readyz?verbose")
    assert (answer.status_code, answer.json()["parts"]) == (503, {"NATS": "ZeroDivisionError: by zero"})


async def test_the_version_is_told(api: Api) -> None:
    assert (await api.http.get("/version")).json() == {"name": "roost", "version": "9.9.9", "api": "v1"}


def test_the_description_is_the_frozen_one() -> None:
    current = json.loads(document())
    assert json.loads(FROZEN.read_text()) == current, (
        "the API's description changed; additions are fine inside v1, so if this is meant:\n"
        "  python -m services.api.openapi > docs/openapi.json"
    )


def test_every_operation_has_a_name_of_its_own_and_says_how_it_refuses() -> None:
    found = json.loads(document())["paths"]
    described = [one for item in found.values() for one in item.values()]
    names = [one["operationId"] for one in described]
    assert len(set(names)) == len(names)
    for one in described:
        if "security" in one:
            assert {"401", "403", "422", "500"} <= set(one["responses"]), one["operationId"]
            for status, response in one["responses"].items():
                if int(status) >= 400:
                    assert list(response["content"]) == ["application/problem+json"]
