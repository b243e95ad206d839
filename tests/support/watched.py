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


def watch_into(file: Path, name: str) -> None:
    """Watch the service that this process is about to become; what held it up goes into *file*."""

    def report(what: str) -> None:
        with file.open("a") as sink:
            sink.write(f"{name}: {what}\n")

    watch, run = Watch(report), Service.run
    watch.on = False

    async def serve(service: Service) -> None:
        watch.on = True
        await run(service)

    Service.run = serve  # type: ignore[method-assign,assignment]
    watch.install()


def main() -> None:
    """Watch, and become the service."""
    module, sys.argv = sys.argv[1], sys.argv[1:]
    watch_into(Path(os.environ[FILE]), module)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
