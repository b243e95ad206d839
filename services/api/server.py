"""Run uvicorn as one task of a service, which alone minds the signals."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

# Imported before there is an event loop: uvicorn would do it as it begins to serve, and a disk that others
# keep busy held the loop up for 0.2 s then (measured).
import uvicorn.lifespan.off
import uvicorn.protocols.http.auto
import uvicorn.protocols.websockets.auto
from fastapi import FastAPI

from infra.runtime.errors import ConfigInvalid

CONNECTIONS_MAX = 1000
GRACE_S = 3
"""How long requests under way may take to finish when the service stops."""


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # SIGTERM and SIGINT belong to infra.runtime.service.


def bind(host: str, port: int) -> socket.socket:
    """Take the address, before anything is connected to; raises ConfigInvalid."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family)
    except OSError as err:
        raise ConfigInvalid(f"cannot listen on {host}:{port}: {err.strerror or err}") from err
    # asyncio does this only for sockets made with an explicit protocol; without it each answer on a kept
    # connection waits 40 ms for the peer's delayed acknowledgement (measured).
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


async def serve(app: FastAPI, listening: socket.socket, tls_cert: Path | None, tls_key: Path | None) -> None:
    """Serve *app* until cancelled, then let what is under way finish within GRACE_S."""
    server = _Server(
        uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=CONNECTIONS_MAX,
            timeout_graceful_shutdown=GRACE_S,
            ssl_certfile=tls_cert,
            ssl_keyfile=tls_key,
        )
    )
    try:
        await server.serve(sockets=[listening])
    except asyncio.CancelledError:
        await server.shutdown(sockets=[listening])
        raise
