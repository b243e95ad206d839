"""Rules about the code that no linter has."""

import ast
import re
import tomllib

from tests.tidy.sources import FLOORS, ROOT, Source, complain, dotted, python

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
ALL = (*FLOORS, "tests")
WAITING = "tests/support/eventually.py"
"""The one place of the tests that may sleep."""
SKIPS = {"skip", "skipif", "xfail", "importorskip", "skipUnless", "skipIf", "skipTest", "expectedFailure"}
BANNED_CALLS = {
    "datetime.datetime.now",
    "datetime.datetime.utcnow",
    "time.time",
    "uuid.uuid4",
    "asyncio.create_task",
    "asyncio.ensure_future",
}
ENVIRONMENT = {"os.environ", "os.getenv", "os.getenvb", "os.environb"}


def test_no_file_is_longer_than_a_person_reads() -> None:
    complain(
        f"a file of more than {FILE_LINES_MAX} lines needs a table of contents",
        "it is two files: part it by what changes together",
        [
            f"{source.name}: {len(source.text.splitlines())} lines"
            for source in python(*ALL)
            if len(source.text.splitlines()) > FILE_LINES_MAX
        ],
    )


def test_no_function_is_longer_than_a_screen() -> None:
    complain(
        f"a function of more than {FUNCTION_LINES_MAX} lines does more than one thing",
        "move its branches into functions with names; there is no list of exceptions",
        [
            f"{source.at(node)}: {node.name}, {_length(node)} lines"
            for source in python(*ALL)
            for node in ast.walk(source.tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            if _length(node) > FUNCTION_LINES_MAX
        ],
    )


def test_the_linter_bans_clocks_ids_and_stray_tasks_outside_the_runtime() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    why = "what reads the clock, draws an id or starts a task by itself cannot be tested or stopped"
    do = "restore the ban in [tool.ruff.lint] of pyproject.toml"
    banned = set(settings["flake8-tidy-imports"]["banned-api"])
    complain(why, do, sorted(BANNED_CALLS - banned))
    complain(why, do, [] if "TID" in settings["select"] else ["TID is not selected"])
    lifted = [place for place, rules in settings["per-file-ignores"].items() if "TID251" in rules]
    complain(why, do, [place for place in lifted if place != "infra/runtime/**"])


def test_nobody_lifts_that_ban_for_a_line() -> None:
    lifted = re.compile(r"#\s*noqa:[^#]*TID251")
    complain(
        "an exception to the ban is a second clock",
        "use infra.runtime.clock, .ids or .service, or have the value passed in",
        [
            f"{source.name}:{number}"
            for source in python(*FLOORS)
            for number, line in enumerate(source.text.splitlines(), 1)
            if lifted.search(line)
        ],
    )


def test_no_test_is_skipped() -> None:
    complain(
        "a test that does not run proves nothing and looks as if it did",
        "make it run, or remove it; what a machine lacks is a failure that says what to install",
        [
            source.at(node)
            for source in python("tests")
            for node in ast.walk(source.tree)
            if isinstance(node, ast.Attribute | ast.Name)
            if dotted(node).rpartition(".")[2] in SKIPS
        ],
    )


def test_no_test_sleeps() -> None:
    complain(
        "a sleep is too short on a busy machine and too long on every other",
        f"wait for the thing itself, with a bound, by {WAITING}",
        [
            source.at(node)
            for source in python("tests")
            if source.name != WAITING
            for node in ast.walk(source.tree)
            if isinstance(node, ast.Call) and dotted(node.func).rpartition(".")[2] == "sleep"
            if ast.unparse(node.args[0]) != "0"  # a turn of the loop waits for nothing
        ],
    )


def test_the_environment_is_read_by_settings_alone() -> None:
    complain(
        "a variable that is read in passing is neither checked before anything starts nor documented",
        "make it a field of a settings module; passing the environment on to a child is fine",
        [
            source.at(node)
            for source in python(*FLOORS)
            if source.path.name != "settings.py"
            for node in _environment_reads(source)
        ],
    )


def _environment_reads(source: Source) -> list[ast.expr]:
    """Find every use of the environment but those that hand the whole of it on."""
    handed_on: set[int] = set()
    for node in ast.walk(source.tree):
        match node:
            case ast.Dict(keys=keys, values=values):
                handed_on |= {id(value) for key, value in zip(keys, values, strict=True) if key is None}
            case ast.BinOp(op=ast.BitOr(), left=left, right=right):
                handed_on |= {id(left), id(right)}
    return [
        node
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Attribute) and dotted(node) in ENVIRONMENT and id(node) not in handed_on
    ]


def _length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1
