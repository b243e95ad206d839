"""Choose a seed anew for each run, and say how to have the same again."""

from infra.runtime.clock import SystemClock
from tests.support.settings import SeedSettings


def a_seed(test: str) -> int:
    """Give the seed that the environment tells, or one that grows by the minute; say how to repeat *test*."""
    told = SeedSettings().test_seed
    seed = int(SystemClock().now().timestamp() / 60) if told is None else told
    print(f"again: ROOST_TEST_SEED={seed} .venv/bin/python -m pytest -s {test}")
    return seed
