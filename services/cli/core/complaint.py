"""Say what failed, why with numbers, what to try, and where to look."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from shlex import quote
from typing import Any

Problem = Mapping[str, Any]
"""A problem of the API (RFC 9457), or one of the command line's own in the same shape."""

CLOSE_MOST = 3


def complaint(doing: str, problem: Problem) -> str:
    """Write *problem*, which kept us from *doing* (`start vm web-01`), as lines for a terminal."""
    lines = [f"error: cannot {doing}: {problem['detail']}"]
    lines += aligned(_reasons(problem), indent=2)
    lines += _all_of_them(problem)
    if problem.get("hint"):
        lines.append(f"try:   {problem['hint']}")
    if problem.get("idempotency_key"):
        lines.append(f"key:   {outcome_unknown(problem['idempotency_key'])}")
    where = [f"roost help {problem['code']}"] if "code" in problem else []
    where += [f"operation {problem['operation']}"] if problem.get("operation") else []
    where += [f"request {problem['request_id']}"] if problem.get("request_id") else []
    if where:
        lines.append(f"more:  {'    '.join(where)}")
    return "\n".join(lines)


def unreachable(url: str, why: str) -> Problem:
    """Say that nobody answers."""
    return {
        "title": "The server cannot be reached",
        "detail": f"no answer from {url}: {why}",
        "hint": "is it running? start one here with `roost dev`, or name another with --url or ROOST_URL",
    }


def overloaded(url: str) -> Problem:
    """Say that somebody answers, but has no time for us, or is a proxy that does not reach roost."""
    return {
        "title": "The server is busy",
        "detail": f"{url} answered 503 without a reason: too many requests at once, or a proxy without roost",
        "hint": "try again in a moment; if it stays so, look at the server's /readyz?verbose",
    }


def outcome_unknown(key: str) -> str:
    """Say how to repeat a command of which nobody knows whether it was accepted."""
    same = f"the same command with `--key {quote(key)}`"
    return f"whether the command was accepted is not known; {same} is carried out once in all"


def not_found(kind: str, wanted: str, names: Iterable[str]) -> Problem:
    """Say that there is no *wanted* among *names*, and which ones it may be a slip for."""
    close = get_close_matches(wanted, sorted(names), CLOSE_MOST)
    meant = f"did you mean {' or '.join(close)}?  " if close else ""
    return {
        "title": f"No such {_SHOWN.get(kind, kind)}",
        "status": 404,
        "detail": f"no {_SHOWN.get(kind, kind)} {wanted}",
        "code": f"no_such_{kind}",
        "hint": f"{meant}see `roost {_GROUP.get(kind, kind)} list`",
    }


def ambiguous(kind: str, wanted: str, ids: Sequence[str]) -> Problem:
    """Say that *wanted* begins more than one id."""
    return {
        "title": "Not unique",
        "detail": f"{wanted} begins the ids of {len(ids)} {_SHOWN.get(kind, kind)}s",
        "hint": f"give more of it: {', '.join(ids[:CLOSE_MOST])}",
    }


def aligned(rows: Sequence[Sequence[str]], indent: int = 0, gap: int = 2) -> list[str]:
    """Write *rows* in columns as wide as their widest cell; nothing is cut."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)] if rows else []
    pad, between = " " * indent, " " * gap
    return [
        (pad + between.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip()
        for row in rows
    ]


_SHOWN = {"vm": "VM"}
_GROUP = {"operation": "op"}


def _reasons(problem: Problem) -> list[tuple[str, ...]]:
    refusals, faults = problem.get("refusals", ()), problem.get("errors", ())
    elsewhere = [(one["host"], "tried before", one["message"]) for one in problem.get("elsewhere", ())]
    if problem.get("failures") or elsewhere:
        failures = problem.get("failures", ())
        return [*((one["step"], one["code"], one["message"]) for one in failures), *elsewhere]
    if refusals:
        return [(one["host"], one["filter"], f"needs {one['needs']}, has {one['has']}") for one in refusals]
    if len(faults) > 1:  # a single one is the sentence itself already
        return [(one["pointer"].lstrip("/") or one["where"], one["message"]) for one in faults]
    return []


def _all_of_them(problem: Problem) -> list[str]:
    """Sum up by filter what is too much to be shown host by host."""
    refused = problem.get("refused", {})
    number = sum(refused.values())
    if number <= len(problem.get("refusals", ())):
        return []
    counts = ", ".join(f"{filter_} {hosts}" for filter_, hosts in refused.items())
    return [f"  in all {number} hosts: {counts}"]
