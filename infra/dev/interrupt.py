"""End on the first signal, and let nothing interrupt the end."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


async def until_signalled(
    work: Coroutine[Any, Any, None], stop: Callable[[], Coroutine[Any, Any, None]], say: Callable[[str], None]
) -> bool:
    """Run *work*, then *stop*, whatever happens; True when a signal ended the work."""
    loop, ourselves = asyncio.get_running_loop(), asyncio.current_task()
    assert ourselves is not None
    for number in SIGNALS:
        loop.add_signal_handler(number, ourselves.cancel)
    try:
        await work
    except asyncio.CancelledError:
        say("stopping")
        return True
    finally:
        for number in SIGNALS:
            loop.add_signal_handler(
                number, say, "already stopping; what was started is being stopped in order"
            )
        await stop()
    return False
