"""Read and write amounts as people do."""

import re
from datetime import datetime, timedelta

_MIB = {"": 1, "m": 1, "mb": 1, "mib": 1, "g": 1024, "gb": 1024, "gib": 1024, "t": 1024**2, "tib": 1024**2}
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)")


def memory_mib(text: str) -> int:
    """Read `512M` or `1.5G` as MiB; ValueError says what is possible."""
    amount = _amount(text, _MIB)
    if amount is None or amount != int(amount):
        raise ValueError(f"{text!r} is no whole number of MiB: write 512M or 1.5G")
    return int(amount)


def seconds(text: str) -> float:
    """Read `30s`, `10m` or `1h`; ValueError says what is possible."""
    amount = _amount(text, _SECONDS)
    if amount is None:
        raise ValueError(f"{text!r} is no duration: write 30s, 10m or 1h")
    return amount


def show_mib(mib: int) -> str:
    """Write an amount of memory in the largest unit that loses nothing worth knowing."""
    return f"{mib / 1024:g} GiB" if mib >= 1024 and mib % 256 == 0 else f"{mib} MiB"


def show_seconds(s: float) -> str:
    """Write a duration."""
    if s < 1:
        return f"{s * 1000:.0f} ms"
    if s < 60:
        return f"{s:.1f} s"
    minutes, rest = divmod(round(s), 60)
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"


def show_time(text: str | None, *, local: bool) -> str:
    """Write an instant of the API: in local time for people, as it came for programs."""
    if text is None:
        return "-"
    return f"{datetime.fromisoformat(text).astimezone():%Y-%m-%d %H:%M:%S}" if local else text


def show_clock(text: str) -> str:
    """Write the time of day of an instant of the API, to the millisecond, in local time."""
    return datetime.fromisoformat(text).astimezone().strftime("%H:%M:%S.%f")[:12]


def elapsed(start: str | None, end: str | None) -> timedelta | None:
    """Give the time between two instants of the API, if both are known."""
    if start is None or end is None:
        return None
    return datetime.fromisoformat(end) - datetime.fromisoformat(start)


def _amount(text: str, units: dict[str, int]) -> float | None:
    found = _AMOUNT.fullmatch(text.strip().lower())
    if found is None or found[2] not in units:
        return None
    return float(found[1]) * units[found[2]]
