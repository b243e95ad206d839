"""Every code of the catalogue reads well, with facts as they come; the frozen text is what people see."""

from pathlib import Path
from typing import Any

import pytest

from events.codes import CATALOGUE, Code
from events.values import VmPhase
from events.vm import allowed_verbs
from services.api.core.problems import Problem, answer_of

FROZEN = Path(__file__).parent / "problems.txt"

FACTS: dict[Code, dict[str, Any]] = {
    Code.ALREADY_SO: {"phase": "running"},
    Code.NAME_TAKEN: {"name": "web-01", "owner": "vm_11111111-1111-4111-8111-111111111111"},
    Code.NO_SUCH_VM: {"vm": "web-01"},
    Code.NO_SUCH_HOST: {"host": "host-9"},
    Code.NO_SUCH_OPERATION: {"operation": "op_44444444-4444-4444-8444-444444444444"},
    Code.NO_STATISTICS: {"what": "vm_11111111-1111-4111-8111-111111111111", "seconds": "30"},
    Code.NO_SUCH_ROUTE: {"path": "/api/v1/nothing"},
    Code.WRONG_METHOD: {"method": "PUT", "path": "/api/v1/vms"},
    Code.WRONG_PHASE: {"verb": "delete", "phase": "running", "allowed": allowed_verbs(VmPhase.RUNNING)},
    Code.NO_HOST_FITS: {
        "considered": 2,
        "vcpus": 2,
        "memory_mib": 8192,
        "refusals": [
            {"host": "host-1", "filter": "memory", "needs": "8192 MiB", "has": "512 MiB free of 4096"},
            {"host": "host-2", "filter": "heartbeat", "needs": "one in 6 s", "has": "none for 11 s"},
        ],
        "refused": {"memory": 1, "heartbeat": 1},
    },
    Code.INVALID_SPEC: {"reason": "vcpus_max is 2, below vcpus, which is 4"},
    Code.CANNOT_RENAME: {"name": "web-01", "wanted": "web-02"},
    Code.TOO_MANY_PENDING: {"pending": 8, "most": 8},
    Code.HYPERVISOR_REFUSED: {
        "host": "host-1",
        "message": "2 things are wrong",
        "failures": [
            {"step": "validate", "code": "image", "message": "no image tiny in the image storage"},
            {"step": "devices", "code": "network", "message": "no bridge br7 on this host"},
        ],
        "elsewhere": [{"host": "host-2", "message": "no image tiny in the image storage"}],
    },
    Code.ACTION_REFUSED: {"host": "host-1", "verb": "reset", "message": "domain is not running"},
    Code.GUEST_STOPPED: {"host": "host-1", "cause": "crashed"},
    Code.SUPERSEDED: {"verb": "start", "by": "op_44444444-4444-4444-8444-444444444444"},
    Code.UNREADABLE_COMMAND: {"reason": "vm.start version 1: vm_id: Field required"},
    Code.UNREADABLE_STATE: {"reason": "vm.placed version 9 is newer than 1, the newest known here"},
    Code.BAD_REQUEST: {"reason": "limit: should be greater than or equal to 1"},
    Code.UNAUTHENTICATED: {"reason": "this token is not known"},
    Code.FORBIDDEN: {"principal": "anna", "action": "delete_vm"},
    Code.KEY_REUSED: {},
    Code.LOG_UNAVAILABLE: {"reason": "no leader; it is not known whether the command was stored"},
    Code.READ_MODEL_UNAVAILABLE: {"reason": "PostgreSQL: connection refused"},
    Code.LOG_FULL: {"reason": "stream CMD: maximum bytes exceeded (10077)"},
    Code.INTERNAL: {"reason": "the request met a defect; nothing is known about what it did"},
}


def shown(code: Code) -> str:
    """Write one problem as the frozen text has it."""
    answer = answer_of(Problem(code, FACTS[code]), "req_1")
    lines = [f"{answer.code} {answer.status} {answer.type}", answer.title, answer.detail, answer.hint]
    lines += [f"- {one.host}: {one.filter}: needs {one.needs}, has {one.has}" for one in answer.refusals]
    lines += [f"- {one.step}: {one.code}: {one.message}" for one in answer.failures]
    lines += [f"- {filter_}: {number}" for filter_, number in answer.refused.items()]
    lines += [f"- before on {one.host}: {one.message}" for one in answer.elsewhere]
    return "\n  ".join(lines)


def test_every_code_has_an_example() -> None:
    assert set(FACTS) == set(Code) == set(CATALOGUE)


@pytest.mark.parametrize("code", Code)
def test_no_placeholder_is_left_and_no_fact_is_missing(code: Code) -> None:
    answer = answer_of(Problem(code, FACTS[code]), "req_1")
    for text in (answer.title, answer.detail, answer.hint):
        assert text
        assert not set("{}?[]") & set(text), text


def test_all_texts_are_the_frozen_ones() -> None:
    current = "\n\n".join(shown(code) for code in Code) + "\n"
    assert FROZEN.read_text() == current, f"if this is meant, write this to {FROZEN}:\n{current}"


def test_facts_that_are_not_there_show_as_such_and_break_nothing() -> None:
    for code in Code:
        answer = answer_of(
            Problem(
                code, {"refusals": "nonsense", "refused": 7, "failures": [{"step": 1}], "elsewhere": [1]}
            ),
            "req_1",
        )
        assert (answer.refusals, answer.refused, answer.failures, answer.elsewhere) == ([], {}, [], [])
