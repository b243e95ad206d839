"""Find the files that the rules are about."""

import ast
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FLOORS = ("events", "infra", "services", "sim")
TIMEOUT_S = 20.0

_IGNORED = {"__pycache__", "node_modules", "dist", "build"}


@dataclass(frozen=True)
class Source:
    """One Python file."""

    path: Path
    text: str
    tree: ast.Module

    @property
    def name(self) -> str:
        """Its path from the root, for people."""
        return self.path.relative_to(ROOT).as_posix()

    def at(self, node: ast.stmt | ast.expr) -> str:
        """Say where *node* is, for people."""
        return f"{self.name}:{node.lineno}"


def has_git() -> bool:
    """Tell whether this is a clone rather than an unpacked archive."""
    return (ROOT / ".git").exists()


def git(*args: str) -> str:
    """Ask git about this repository; a clone that another user owns is read all the same."""
    command = ("git", "-c", f"safe.directory={ROOT}", *args)
    return subprocess.run(
        command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=TIMEOUT_S
    ).stdout


@cache
def files() -> tuple[Path, ...]:
    """List what belongs to the project: what git has or would take, else what no hidden folder holds."""
    if has_git():
        names = git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
        found = [ROOT / name for name in names if name]
    else:
        found = [path for path in ROOT.rglob("*") if not _is_ignored(path.relative_to(ROOT))]
    return tuple(sorted(path for path in found if path.is_file()))


@cache
def python(*tops: str) -> tuple[Source, ...]:
    """Read the Python files below *tops*."""
    return tuple(
        Source(path, text, ast.parse(text))
        for path in files()
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in tops
        for text in [path.read_text()]
    )


def texts() -> Iterator[tuple[str, str]]:
    """Read every text file: its name and what it says."""
    for path in files():
        try:
            yield path.relative_to(ROOT).as_posix(), path.read_text()
        except UnicodeDecodeError:
            continue  # Not a text.


def dotted(node: ast.expr) -> str:
    """Write `a.b.c` for the expression that says so; empty for any other."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=attr):
            head = dotted(value)
            return f"{head}.{attr}" if head else ""
        case _:
            return ""


def complain(why: str, what_to_do: str, broken: Sequence[str]) -> None:
    """Fail with the reason of the rule, what to do, and every place; nothing where none is broken."""
    assert not broken, "\n".join(["", f"why:  {why}", f"do:   {what_to_do}", *(f"  {one}" for one in broken)])


def _is_ignored(path: Path) -> bool:
    return any(part.startswith(".") or part in _IGNORED for part in path.parts)
