"""What one measurement says."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Result:
    """One line of output. *aim* is a bound from above; *ok* says whether *value* keeps it."""

    name: str
    value: float | None
    unit: str
    aim: float | None
    detail: dict[str, Any] = field(default_factory=dict)

    def line(self) -> str:
        """Write it as JSON."""
        reached = self.value is not None and (self.aim is None or self.value <= self.aim)
        return json.dumps({**asdict(self), "ok": reached})


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
