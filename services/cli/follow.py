"""Stay with an operation until it ends: the id at once, steps as they come, one line at the end."""

import sys
import time
from dataclasses import dataclass, field

from services.cli.client import Body, Client
from services.cli.core.exits import Exit
from services.cli.core.units import elapsed, show_clock, show_seconds
from services.cli.failure import Failure

LOOK_S = 1.0
"""How long one request waits for the end; steps are shown, and the clock moves, this often."""
PAUSE_S = 0.2
DONE = {
    "create": "created",
    "start": "started",
    "stop": "stopped",
    "power-off": "powered off",
    "reboot": "rebooted",
    "reset": "reset",
    "pause": "paused",
    "resume": "resumed",
    "update": "updated",
    "delete": "deleted",
}


class StillRunning(Exception):
    """The wait is over and the operation is not; *operation* is how it was seen last."""

    def __init__(self, operation: Body) -> None:
        super().__init__(operation["id"])
        self.operation = operation


@dataclass
class Progress:
    """What standard error shows: lines that stay and, on a terminal, one that is redrawn."""

    began: float = field(default_factory=time.monotonic)
    shown: int = 0

    def steps(self, operation: Body) -> None:
        """Print the steps that were not shown yet."""
        for step in operation["steps"][self.shown :]:
            self.line(f"  {show_clock(step['time'])}  {step['type']:<20}  #{step['seq']}")
        self.shown = max(self.shown, len(operation["steps"]))

    def waiting(self, operation: Body) -> None:
        """Redraw the line that says how long it has been."""
        if sys.stderr.isatty():
            passed = show_seconds(time.monotonic() - self.began)
            sys.stderr.write(f"\r\x1b[2K  {operation['state']}, {passed}")
            sys.stderr.flush()

    def line(self, text: str) -> None:
        """Print a line that stays."""
        sys.stderr.write(f"\r\x1b[2K{text}\n" if sys.stderr.isatty() else f"{text}\n")


def follow(client: Client, doing: str, operation: Body, timeout_s: float) -> Body:
    """Wait until *operation* has ended; raises StillRunning, and Failure when it failed.

    An operation that was accepted a moment ago may not be in the read model yet, and the API may be away
    for a while: neither is a reason to stop waiting.
    """
    progress = Progress()
    until = progress.began + timeout_s
    operation = {"steps": [], **operation}
    complained = False
    while operation["state"] not in {"succeeded", "failed"}:
        left = until - time.monotonic()
        if left <= 0:
            progress.line(f"still {operation['state']} after {show_seconds(timeout_s)}")
            raise StillRunning(operation)
        progress.waiting(operation)
        try:
            path = f"/operations/{operation['id']}"
            operation = client.get(doing, path, wait=f"{min(LOOK_S, left):.3f}")
        except Failure as failure:
            if not failure.passing and failure.exit_code is not Exit.NOT_FOUND:
                raise
            if failure.passing and not complained:
                progress.line(f"{failure}\nstill waiting")
                complained = True
            time.sleep(min(PAUSE_S, max(0.0, left)))
        progress.steps(operation)
    _conclude(doing, operation, progress)
    return operation


def _conclude(doing: str, operation: Body, progress: Progress) -> None:
    if operation["state"] == "failed":
        progress.line(f"failed{_after(operation)}")
        raise Failure(doing, {**operation["error"], "operation": operation["id"]})
    verb, _, what = doing.partition(" ")
    if operation["note"]:
        progress.line(f"{what}: {operation['note']}; nothing was changed")
    else:
        progress.line(f"{what} {DONE.get(verb, verb)}{_after(operation)}")


def _after(operation: Body) -> str:
    took = elapsed(operation["accepted_at"], operation["ended_at"])
    return "" if took is None else f" after {show_seconds(took.total_seconds())}"
