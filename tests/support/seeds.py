"""Choose a seed anew for each run, and say how to have the same again."""

import os

from infra.runtime.clock import SystemClock


def a_seed(test: str) -> int:
    """Give ROOST_TEST_SEED, or one that grows by the minute; print the command that repeats *test*."""
    told = os.environ.get("ROOST_TEST_SEED")
    seed = int(told) if told else int(SystemClock().now().timestamp() / 60)
    print(f"again: ROOST_TEST_SEED={seed} .venv/bin/python -m pytest -s {test}")
    return seed
