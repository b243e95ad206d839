"""Start services quickly, and again whenever one is killed: a process that has imported them all, and forks.

`python -m tests.crash.nursery FILE`: FILE lists the services, as JSON. It ends, and they with it, when its
standard input does. A service that ends by anything but a kill is not started again: that is a defect, and it
is written down.
"""

import ctypes
import gc
import importlib
import json
import os
import select
import signal
import sys
from pathlib import Path
from typing import Any

from tests.crash.points import PORTS, run

POLL_S = 0.02
PR_SET_PDEATHSIG = 1
LATER = ("uvicorn.protocols.http.auto", "uvicorn.protocols.websockets.auto", "uvicorn.lifespan.off")
"""What a service imports as it begins to serve; from a disk that others keep busy that takes its time."""
_libc = ctypes.CDLL(None)


def fork(service: dict[str, Any]) -> int:
    """Start one service; give its pid."""
    pid = os.fork()
    if pid:
        return pid
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    log = os.open(service["log"], os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.update(service["env"])
    code = 1
    try:
        run(Path(service["folder"]), service["module"], service["args"])
        code = 0
    except SystemExit as err:
        code = err.code if isinstance(err.code, int) else 1
    finally:
        os._exit(code)


def main() -> None:
    """Keep all services running until standard input ends."""
    for module in (*PORTS, *LATER):
        importlib.import_module(module)
    # Each child looks through its heap for garbage before it serves: not through what all of them share.
    gc.collect()
    gc.freeze()
    services = json.loads(Path(sys.argv[1]).read_text())
    running = {fork(service): service for service in services}
    while not select.select([sys.stdin], [], [], POLL_S)[0]:
        pid, status = os.waitpid(-1, os.WNOHANG) if running else (0, 0)
        if pid:
            service = running.pop(pid)
            if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
                running[fork(service)] = service
            else:
                (Path(service["folder"]) / "ended").write_text(str(status))
    for pid in running:
        os.kill(pid, signal.SIGKILL)
    for pid in running:
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
