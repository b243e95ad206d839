"""Run a service with an eye on its event loop: `python -m tests.support.watched MODULE ARGS`.

What held it up is written, a line each, into the file that WATCHED_FILE names. It counts from when the
service has been built and serves: before that nobody waits for its loop.
"""

import os
import runpy
import sys
from pathlib import Path

from infra.runtime.service import Service
from tests.support.slow_callbacks import Watch

FILE = "WATCHED_FILE"


def main() -> None:
    """Watch, and become the service."""
    file = Path(os.environ[FILE])

    def report(what: str) -> None:
        with file.open("a") as sink:
            sink.write(f"{sys.argv[0]}: {what}\n")

    watch, run = Watch(report), Service.run
    watch.on = False

    async def serve(service: Service) -> None:
        watch.on = True
        await run(service)

    Service.run = serve  # type: ignore[method-assign,assignment]
    watch.install()
    module, sys.argv = sys.argv[1], sys.argv[1:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
