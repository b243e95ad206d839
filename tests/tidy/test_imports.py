"""Who may know whom: the contracts of pyproject.toml hold, and each one can break."""

import ast
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.tidy.sources import FLOORS, ROOT, complain, python

TIMEOUT_S = 60.0
LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")

PLANTED = {
    "floors": ("infra/readmodel/tables.py", "import services.projector.handler"),
    "rooms": ("services/projector/handler.py", "import services.scheduler.settings"),
    "pure-cores": ("services/hostd/core/reconcile.py", "import asyncio"),
    "pure-checkers": ("sim/checkers/stream.py", "import asyncio"),
    "door-libvirt": ("services/hostd/handler.py", "import libvirt"),
    "door-nats": ("services/scheduler/memory.py", "from nats.aio.client import Client"),
    "door-sql": ("services/projector/handler.py", "from sqlalchemy import select"),
    "real-log": ("services/scheduler/handler.py", "import infra.eventlog.jetstream"),
    "real-leases": ("services/scheduler/tenure.py", "import infra.leases.jetstream"),
    "real-readmodel": ("services/api/desk.py", "import infra.readmodel.postgres"),
    "real-hypervisor": ("services/hostd/handler.py", "import services.hostd.hypervisor.libvirt_driver"),
    "infra-rooms": ("infra/eventlog/port.py", "import infra.readmodel.port"),
    "runtime-alone": ("infra/runtime/clock.py", "import events.ids"),
    "lab-alone": ("infra/lab/programs.py", "import infra.runtime.errors"),
    "light-cli": ("services/cli/naming.py", "import events.values"),
    "acyclic": ("events/ids.py", "import events.codec"),
}
"""Contract to a file and a line that must break it."""


def _settings() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def _contracts() -> dict[str, dict[str, Any]]:
    return {one["id"]: one for one in _settings()["tool"]["importlinter"]["contracts"]}


def _lint(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    command = [str(LINT_IMPORTS), "--no-cache", *args]
    return subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the code that a test may spoil."""
    for floor in FLOORS:
        shutil.copytree(ROOT / floor, tmp_path / floor, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_every_import_contract_is_kept() -> None:
    result = _lint(ROOT)
    complain(
        "rooms that know each other cannot be changed one at a time",
        "follow the guidance under the broken contract; `lint-imports` shows the same",
        [] if result.returncode == 0 else [result.stdout[-4000:], result.stderr],
    )


def test_each_contract_has_a_violation_to_break_it() -> None:
    complain(
        "a contract that was never seen to break may guard nothing",
        "add the new contract's violation to PLANTED",
        sorted(_contracts().keys() ^ PLANTED.keys()),
    )


@pytest.mark.parametrize("contract", sorted(PLANTED))
def test_a_planted_violation_breaks_its_contract(copy: Path, contract: str) -> None:
    name, line = PLANTED[contract]
    path = copy / name
    path.write_text(f"{path.read_text()}\n{line}\n")
    result = _lint(copy, "--contract", contract)
    assert result.returncode == 1, f"{line!r} in {name} was not noticed:\n{result.stdout}{result.stderr}"
    assert f"{_contracts()[contract]['name']} BROKEN" in result.stdout


def test_every_service_is_in_the_contract_between_services() -> None:
    listed = {module.removeprefix("services.") for module in _contracts()["rooms"]["modules"]}
    there = {path.parent.name for path in (ROOT / "services").glob("*/__init__.py")}
    complain(
        "a service that is not listed may import every other",
        "add it to, or remove it from, `modules` of the contract `rooms` in pyproject.toml",
        sorted(listed ^ there),
    )


def test_every_room_of_infra_has_a_layer() -> None:
    layers = _contracts()["infra-rooms"]["layers"]
    listed = {room.strip() for layer in layers for room in layer.split("|")}
    there = {path.parent.name for path in (ROOT / "infra").glob("*/__init__.py")}
    complain(
        "a room without a layer may import all others",
        "give it a layer in the contract `infra-rooms` in pyproject.toml",
        sorted(listed ^ there),
    )


def test_every_floor_is_linted_and_shipped() -> None:
    settings = _settings()["tool"]
    there = {
        path.parent.name for path in ROOT.glob("*/__init__.py") if path.parent.name not in {"tests", "docs"}
    }
    complain(
        "a floor that no contract sees obeys none",
        "list it in `root_packages`, `layers` of `floors`, and hatch's `packages`, in pyproject.toml",
        sorted(
            (there ^ set(settings["importlinter"]["root_packages"]))
            | (there ^ set(_contracts()["floors"]["layers"]))
            | (there ^ set(settings["hatch"]["build"]["targets"]["wheel"]["packages"]))
        ),
    )


ARRAYS = "services/scheduler/core/"
"""Where thousands of hosts are compared at once: arrays, and nothing that draws or asks."""


def test_cores_and_events_use_no_third_party_but_pydantic_and_arrays() -> None:
    known = {*sys.stdlib_module_names, *FLOORS, "pydantic", "pydantic_core"}
    broken = [
        f"{source.at(node)}: {name}"
        for source in python(*FLOORS)
        if source.name.startswith("events/") or "/core/" in source.name
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in _imported(node)
        if name.partition(".")[0] not in known
        if not (source.name.startswith(ARRAYS) and name in {"numpy", "numpy.typing"})
    ]
    complain(
        "a decision must be the same wherever and whenever it is computed",
        "let the handler call the library and pass the value in",
        broken,
    )


def test_every_import_is_absolute_and_at_the_top() -> None:
    broken = [
        source.at(node)
        for source in python(*FLOORS)
        for parent in ast.walk(source.tree)
        if isinstance(parent, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(parent)
        if isinstance(node, ast.Import | ast.ImportFrom) and "rich" not in ast.unparse(node)
        if "yaml" not in ast.unparse(node)
    ]
    complain(
        "an import inside a function hides a dependency from the reader",
        "import at the top; where that makes a cycle, move what both need (rich and yaml alone are late, "
        "because the command line has to start fast)",
        broken,
    )


def _imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [node.module or "."]
    return [alias.name for alias in node.names]
