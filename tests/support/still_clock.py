"""Time that a test moves."""

from datetime import datetime

from infra.eventlog.memory import EPOCH


class StillClock:
    """A clock that moves only when a test says so."""

    def __init__(self, passed_s: float = 0.0) -> None:
        self.passed_s, self.at = passed_s, EPOCH

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.passed_s
