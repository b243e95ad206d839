"""Inside a service: number each call of a port, and end the process at the one that was chosen.

`python -m tests.crash.points FOLDER MODULE ARGS…` runs a service with its ports wrapped. FOLDER is how the
harness talks to it: `plan` says where to die, `hits` lists the points that were passed, `pid` and `armed`
tell that it listens. A signal makes it read the plan anew and count from zero.
"""

import importlib
import inspect
import json
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.support.watched import watch_into

ARM = signal.SIGUSR1
PORTS = {
    "services.scheduler.main": {"JetStreamLog": "log", "JetStreamConsumer": "commands"},
    "services.projector.main": {
        "JetStreamLog": "log",
        "PostgresProjectionStore": "store",
        "NatsSignals": "signals",
    },
    "services.api.main": {"JetStreamLog": "log", "PostgresReadModel": "reads", "NatsSignals": "signals"},
    "services.hostd.main": {
        "JetStreamConsumer": "desired",
        "JetStreamFactLog": "facts",
        "Journal": "journal",
        "SimulatedHypervisor": "hypervisor",
        "LibvirtHypervisor": "hypervisor",
    },
}
"""Module to the adapters that its main puts together, and the name that each port has in a label."""
POLLS = {"next", "fetch"}
"""Calls that wait for something to come: whoever dies before one, or with nothing in hand, dies idle."""
IDLE = {
    "close",
    "position",
    "last_seq",
    "acquire",
    "active",
    "connect",
    "machine",
    "statistics",
    "vm_ids",
    "reclaim",
}
"""Calls that a service makes by its clock, or once at its start, whatever is asked of it."""


class Points:
    """The points that this process passes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._hits = os.open(folder / "hits", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        self._lock = threading.RLock()  # a signal may come while its own thread holds it
        self._counts: Counter[str] = Counter()
        self._plan: dict[str, Any] = {}

    def listen(self) -> None:
        """Begin to take plans; the pid is told only when a signal does no harm any more."""
        signal.signal(ARM, lambda *_: self.arm())
        self.arm()
        _write(self._folder / "pid", str(os.getpid()))

    def arm(self) -> None:
        """Read the plan, and count from zero. Who has died by it does not die again."""
        with self._lock:
            self._plan = json.loads((self._folder / "plan").read_text())
            self._counts.clear()
            if _read(self._folder / "killed") == str(self._plan["round"]):
                self._plan["kill"] = ""
        _write(self._folder / "armed", str(self._plan["round"]))

    def passed(self, name: str) -> None:
        """Come to a point; die there if it is the one."""
        with self._lock:
            self._counts[name] += 1
            label = f"{name} {self._counts[name]}"
            os.write(self._hits, f"{self._plan['round']}\t{label}\n".encode())
            if label == self._plan["kill"]:
                _write(self._folder / "killed", str(self._plan["round"]))
                os.kill(os.getpid(), signal.SIGKILL)
                threading.Event().wait()  # nothing may follow, on whichever thread the signal lands


class Wrapped:
    """A port whose every call passes a point before and after."""

    def __init__(self, port: str, target: Any, points: Points) -> None:
        self._port, self._target, self._points = port, target, points

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if not callable(found) or name in IDLE:
            return found
        label = f"{self._port}.{name}"
        if inspect.iscoroutinefunction(found):
            return self._async(label, name in POLLS, found)
        return self._sync(label, name == "follow", found)

    def _async(self, label: str, poll: bool, call: Callable[..., Any]) -> Callable[..., Any]:
        async def passing(*args: Any, **kwargs: Any) -> Any:
            if not poll:
                self._points.passed(f"before {label}")
            result = await call(*args, **kwargs)
            if not poll or result:
                self._points.passed(f"after {label}")
            return self._deliveries(result) if label.endswith(".fetch") else result

        return passing

    def _sync(self, label: str, follows: bool, call: Callable[..., Any]) -> Callable[..., Any]:
        def passing(*args: Any, **kwargs: Any) -> Any:
            if follows:
                return Wrapped(f"{self._port}.follower", call(*args, **kwargs), self._points)
            self._points.passed(f"before {label}")
            result = call(*args, **kwargs)
            self._points.passed(f"after {label}")
            return result

        return passing

    def _deliveries(self, found: Sequence[Any]) -> list[Any]:
        return [Wrapped(f"{self._port}.delivery", one, self._points) for one in found]


def wrap(module: Any, points: Points) -> None:
    """Have *module* put its service together from wrapped adapters."""
    for name, port in PORTS[module.__name__].items():
        setattr(module, name, _making(port, getattr(module, name), points))


def _making(port: str, adapter: Callable[..., Any], points: Points) -> Callable[..., Any]:
    def make(*args: Any, **kwargs: Any) -> Wrapped:
        return Wrapped(port, adapter(*args, **kwargs), points)

    return make


def run(folder: Path, module: str, arguments: Sequence[str]) -> None:
    """Become the service *module*, its ports wrapped."""
    found = importlib.import_module(module)
    points = Points(folder)
    wrap(found, points)
    watch_into(folder / "slow", module)
    points.listen()
    sys.argv = [module, *arguments]
    found.main()


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _write(path: Path, text: str) -> None:
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(text)
    draft.replace(path)


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
