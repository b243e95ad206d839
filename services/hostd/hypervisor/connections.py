"""Connections to one libvirt daemon: one that listens, and one for each thread that calls.

libvirt works off the calls of one connection side by side up to its `max_client_requests` (5), and in the
order of their arrival from there on: calls that hang would starve all others of their connection. With a
connection of its own no call waits for another's. What is left is libvirtd's `max_workers` (20 by default),
which must be above the driver's threads with their spares (18, where four guests are started at once): a call
that hangs keeps one of these, too.
"""

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import libvirt

from infra.runtime.errors import Unavailable

KEEPALIVE_S, KEEPALIVE_COUNT = 5, 3
_AWAY = {libvirt.VIR_ERR_NO_CONNECT, libvirt.VIR_ERR_RPC}


class Connections:
    """Opened and closed as one."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._listening: Any = None
        self._era = 0
        """Connections of an earlier era are of no use: what they were opened to may be another daemon."""
        self._own = threading.local()
        start_event_loop()
        # libvirt's own reports go to standard error otherwise, once an error that we report ourselves.
        libvirt.registerErrorHandler(lambda *_: None, None)

    @property
    def era(self) -> int:
        """Count the times that it was opened: what was learnt from libvirt holds for one era."""
        return self._era

    def open(self, lost: Callable[[], None], listen: Callable[[Any], None]) -> None:
        """Open the connection that listens, anew where there was one; *lost* is told when it breaks."""
        self.close()
        connection = self._opened()
        connection.registerCloseCallback(lambda *_: lost(), None)
        listen(connection)
        self._era += 1
        self._listening = connection

    def close(self) -> None:
        """Close the connection that listens; those of threads close as their threads meet the next era."""
        connection, self._listening = self._listening, None
        if connection is not None:
            with contextlib.suppress(libvirt.libvirtError):
                connection.close()

    def mine(self) -> Any:
        """Give the calling thread its connection; raises Unavailable while none is open."""
        if not self.alive():
            raise Unavailable("libvirt", f"not connected to {self._uri}")
        era, connection = getattr(self._own, "held", (0, None))
        if era != self._era or not is_alive(connection):
            era, connection = self._era, self._opened()
            self._own.held = era, connection
        return connection

    def alive(self) -> bool:
        """Tell whether the connection that listens still does."""
        return is_alive(self._listening)

    def broke(self, err: libvirt.libvirtError) -> bool:
        """Tell whether *err* of the calling thread means that libvirt is away, and is no answer of its.

        The thread's own connection may know it before the one that listens.
        """
        _, connection = getattr(self._own, "held", (0, None))
        away = err.get_error_code() in _AWAY or err.get_error_domain() == libvirt.VIR_FROM_RPC
        return away or not is_alive(connection) or not self.alive()

    def _opened(self) -> Any:
        connection = libvirt.open(self._uri)
        connection.setKeepAlive(KEEPALIVE_S, KEEPALIVE_COUNT)
        return connection


def is_alive(connection: Any) -> bool:
    """Tell whether libvirt has not noticed that *connection* is broken."""
    try:
        return connection is not None and connection.isAlive() == 1
    except libvirt.libvirtError:
        return False


_event_loop = threading.Lock()
_event_loop_runs = False


def start_event_loop() -> None:
    """Run libvirt's event loop on a thread of its own, once a process: libvirt allows no second."""
    global _event_loop_runs  # noqa: PLW0603 - it is libvirt that is global
    with _event_loop:
        if not _event_loop_runs:
            libvirt.virEventRegisterDefaultImpl()
            threading.Thread(target=_run_events, name="libvirt-events", daemon=True).start()
            _event_loop_runs = True


def _run_events() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()
