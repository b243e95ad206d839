"""The command line starts fast: what it does not need it does not load."""

import subprocess
import sys

import pytest

from services.cli.core import units

HEAVY = {
    "pydantic",
    "fastapi",
    "starlette",
    "httpx",
    "rich",
    "yaml",
    "nats",
    "sqlalchemy",
    "infra",
    "asyncio",
}


def test_help_loads_nothing_heavy() -> None:
    story = "import sys; from services.cli import main; main.run(['--help']); print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", story], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}
    assert "click" in loaded
    assert not HEAVY & loaded


@pytest.mark.parametrize(
    ("text", "mib"),
    [("512M", 512), ("1G", 1024), ("1.5GiB", 1536), ("2 gb", 2048), ("64", 64), ("1t", 2**20)],
)
def test_memory_is_read_as_people_write_it(text: str, mib: int) -> None:
    assert units.memory_mib(text) == mib


@pytest.mark.parametrize("text", ["", "lots", "-1G", "0.0001M", "1K", "1 G B"])
def test_memory_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write 512M"):
        units.memory_mib(text)


@pytest.mark.parametrize(("text", "s"), [("30s", 30), ("10m", 600), ("1h", 3600), ("0.5", 0.5), ("0", 0)])
def test_durations_are_read_as_people_write_them(text: str, s: float) -> None:
    assert units.seconds(text) == s


@pytest.mark.parametrize(
    ("s", "text"), [(0.05, "50 ms"), (1.25, "1.2 s"), (60, "1 min"), (75, "1 min 15 s"), (600, "10 min")]
)
def test_durations_are_written_short(s: float, text: str) -> None:
    assert units.show_seconds(s) == text
