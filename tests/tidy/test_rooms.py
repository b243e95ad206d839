"""Every room says what it is for; the names of the floors are ours alone."""

import ast
import importlib.util
from importlib.metadata import packages_distributions
from pathlib import Path

from tests.tidy.sources import FLOORS, ROOT, complain, python

SIGN = ("Room: ", "Owns: ", "May import: ", "Must not: ")
WITHOUT_PACKAGE = {"infra/readmodel/migrations", "infra/readmodel/migrations/versions"}
"""Run by alembic from their path, never imported."""


def test_every_package_has_its_door_sign() -> None:
    broken = [
        f"{source.name}: {fault}"
        for source in python(*FLOORS)
        if source.path.name == "__init__.py"
        for fault in _faults(ast.get_docstring(source.tree))
    ]
    complain(
        "whoever opens a room must see at once what it is for and what it may touch",
        "begin __init__.py with four lines: 'Room: …' , then after an empty one 'Owns: …', 'May import: …', "
        "'Must not: …', each a sentence with its full stop",
        broken,
    )


def test_init_files_hold_nothing_but_the_sign() -> None:
    complain(
        "a name has one home; re-exports make a second",
        "import it from the module that defines it",
        [
            source.name
            for source in python(*FLOORS)
            if source.path.name == "__init__.py" and len(source.tree.body) != 1
        ],
    )


def test_every_folder_of_code_is_a_room() -> None:
    folders = {source.path.parent for source in python(*FLOORS)}
    complain(
        "a folder without a sign belongs to nobody",
        "add an __init__.py with the four lines",
        sorted(
            str(folder.relative_to(ROOT))
            for folder in folders
            if not (folder / "__init__.py").exists()
            and folder.relative_to(ROOT).as_posix() not in WITHOUT_PACKAGE
        ),
    )


def test_no_other_distribution_provides_our_import_names() -> None:
    providers = packages_distributions()
    complain(
        "`events`, `infra`, `services` and `sim` are generic names: another distribution's would shadow ours",
        "remove that distribution; roost runs in an environment of its own (docs/adr/0001)",
        [
            f"{name} is provided by {', '.join(providers[name])}"
            for name in FLOORS
            if set(providers.get(name, [])) - {"roost"}
        ],
    )
    for name in FLOORS:
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        assert Path(spec.origin) == ROOT / name / "__init__.py", (
            f"{name} comes from {spec.origin}, not from here"
        )


def _faults(sign: str | None) -> list[str]:
    if sign is None:
        return ["no docstring"]
    lines = sign.splitlines()
    if len(lines) != 5 or lines[1]:
        return [f"{len(lines)} lines; it is four, with an empty one after the first"]
    told = [lines[0], *lines[2:]]
    return [
        f"{line!r} must begin with {start!r} and end with a full stop"
        for start, line in zip(SIGN, told, strict=True)
        if not line.startswith(start) or not line.endswith(".")
    ]
