"""Write what is generated from the code: `python -m tests.support.write_generated`.

Tests compare the files with what the code says now, so that neither can change without the other.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from events.codes import CATALOGUE, Code
from events.schema import schemas
from events.values import VmPhase
from events.vm import VERB_TABLE, Verdict
from services.api.core.metrics import FAMILIES
from services.api.openapi import document
from services.cli.core.exits import MEANINGS, exit_of

ROOT = Path(__file__).resolve().parents[2]
SCHEMAS = ROOT / "events/schemas"
ERRORS = ROOT / "docs/errors.md"
OPENAPI = ROOT / "docs/openapi.json"
METRICS = ROOT / "docs/howto/metrics.md"
VM_STATES = ROOT / "docs/states/vm.md"
BEGIN = "<!-- generated from events.vm.VERB_TABLE: python -m tests.support.write_generated -->"
METRICS_BEGIN = "<!-- generated from services.api.core.metrics: python -m tests.support.write_generated -->"
END = "<!-- end -->"

_MEANING = {
    Verdict.DO: "done",
    Verdict.JOIN: "joins",
    Verdict.ALREADY: "nothing to do",
    Verdict.REFUSE: "refused",
}
_ERRORS_HEAD = """# Errors

Every refusal has a code from one catalogue (`events/codes.py`). The API answers with it (RFC 9457: `code`,
`title`, `detail`, `hint`), an operation that failed keeps it, and `roost help CODE` explains it. A word in
braces stands for a fact of the case.

This page is generated: `python -m tests.support.write_generated`.
"""


def generated() -> Mapping[Path, str]:
    """Give every generated file with what it must hold."""
    files = {SCHEMAS / name: json.dumps(schema, indent=1) + "\n" for name, schema in schemas().items()}
    files[ERRORS] = _ERRORS_HEAD + "".join(map(_section, Code))
    files[OPENAPI] = document()
    files[VM_STATES] = _with_table(VM_STATES.read_text(), BEGIN, _verb_table())
    files[METRICS] = _with_table(METRICS.read_text(), METRICS_BEGIN, _metric_table())
    return files


def _section(code: Code) -> str:
    entry, ends = CATALOGUE[code], exit_of(code)
    return f"""
## {code}

{entry.title}.

- **What failed and why:** {entry.detail}
- **What to try:** {entry.hint}
- **HTTP status:** {entry.status}, where the API itself answers with it
- **Exit code of `roost`:** {_exit(code, int(ends), MEANINGS[ends])}
"""


def _exit(code: Code, number: int, meaning: str) -> str:
    return "0 (done)" if code is Code.ALREADY_SO else f"{number} ({meaning})"


def _with_table(page: str, begin: str, table: str) -> str:
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(END)
    return f"{before}{begin}\n{table}\n{END}{after}"


def _metric_table() -> str:
    rows = [
        f"| `{metric.name}` | {metric.kind} | {', '.join((*family.labels, *metric.labels))} | {metric.help} |"
        for family in FAMILIES
        for metric in family.metrics
    ]
    return "\n".join(["| metric | kind | labels | meaning |", "|---|---|---|---|", *rows])


def _verb_table() -> str:
    phases = [phase for phase in VmPhase if phase is not VmPhase.DELETED]
    head = ["| | " + " | ".join(phases) + " |", "|---" * (len(phases) + 1) + "|"]
    rows = [
        f"| **{verb}** | " + " | ".join(_MEANING[row[phase]] for phase in phases) + " |"
        for verb, row in VERB_TABLE.items()
    ]
    return "\n".join([*head, *rows])


def main() -> None:
    """Write each file that differs, and say so."""
    for path, text in generated().items():
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
