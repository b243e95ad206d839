"""What one measurement says."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Result:
    """One line of output; *ok* says whether *value* keeps its *aim*."""

    name: str
    value: float | None
    unit: str
    aim: float | None
    """A bound from above, or from below where *more_is_better*."""
    detail: dict[str, Any] = field(default_factory=dict)
    more_is_better: bool = False

    def line(self) -> str:
        """Write it as JSON."""
        shown = asdict(self)
        del shown["more_is_better"]
        return json.dumps({**shown, "ok": self._reached()})

    def _reached(self) -> bool:
        if self.value is None or self.aim is None:
            return self.value is not None
        return self.value >= self.aim if self.more_is_better else self.value <= self.aim


def percentile(values: Sequence[float], share: float) -> float:
    """Give the smallest of *values* that *share* of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Sum up *values* for the detail of a result."""
    return {
        "runs": len(values),
        "min": round(min(values), 2),
        "median": round(statistics.median(values), 2),
        "max": round(max(values), 2),
    }
