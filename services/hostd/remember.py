"""Call the journal from the event loop: on its one thread, for as long as it takes."""

from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

from infra.runtime.backoff import persist
from infra.runtime.health import Health
from infra.runtime.workers import Workers

JOURNAL = "journal"
JOURNAL_TIMEOUT_S = 10.0

P = ParamSpec("P")
T = TypeVar("T")


class Remember:
    """Nothing goes on without the journal: while it cannot write (a full disk), whoever calls waits."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._worker = Workers(JOURNAL, 1)

    async def __call__(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        def attempt() -> Awaitable[T]:
            return self._worker.run(JOURNAL_TIMEOUT_S, call, *args, **kwargs)

        return await persist(self._health, JOURNAL, attempt)
