"""The API on twins: memory in place of NATS and PostgreSQL, everything else as it runs."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from events.views import HostView, LoggedEvent, OperationView, StepView, VmView
from infra.eventlog.memory import MemoryLog, MemorySignals, MemoryStream
from infra.readmodel.memory import MemoryReadModel, MemoryTables
from infra.runtime.ids import random_id
from services.api.app import make_app
from services.api.core.rights import Credentials, digest
from services.api.desk import Desk
from services.api.parts import Parts
from services.api.pulse import Pulse
from services.api.statistics import Statistics
from tests.unit.api.rows import NOON, a_host, a_vm

TOKEN = "let-me-in"


class ManualClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.passed_s = 0.0

    def now(self) -> datetime:
        return NOON

    def monotonic(self) -> float:
        return self.passed_s


@dataclass
class Api:
    """The application, what it stands on, and a client that is signed in."""

    app: FastAPI
    http: httpx.AsyncClient
    tables: MemoryTables
    commands: MemoryStream
    events: MemoryStream
    signals: MemorySignals
    pulse: Pulse
    statistics: Statistics
    clock: ManualClock

    def know(self, *rows: VmView | HostView | OperationView | LoggedEvent | StepView) -> None:
        """Put *rows* where the projector would."""
        for row in rows:
            match row:
                case VmView():
                    self.tables.vms[row.vm_id] = row
                case HostView():
                    self.tables.hosts[row.host_id] = row
                case OperationView():
                    self.tables.operations[row.operation_id] = row
                case LoggedEvent():
                    self.tables.log[row.seq] = (row, b"")
                case StepView():
                    self.tables.steps[row.operation_id, row.seq] = row

    async def get(self, path: str, **more: Any) -> httpx.Response:
        return await self.http.get(f"/api/v1{path}", **more)

    async def post(self, path: str, key: str | None = None, **more: Any) -> httpx.Response:
        headers = {"Idempotency-Key": key} if key else {}
        return await self.http.post(f"/api/v1{path}", headers=headers, **more)


@pytest.fixture(scope="session")
def app() -> FastAPI:
    """The application, described before it serves as in main.py: the first request would take too long."""
    made = make_app(random_id, ManualClock())
    made.openapi()
    return made


@pytest.fixture
async def api(app: FastAPI) -> AsyncIterator[Api]:
    tables = MemoryTables()
    reads = MemoryReadModel(tables)
    commands, events = MemoryStream(), MemoryStream()
    signals, clock = MemorySignals(), ManualClock()
    log, pulse, statistics = MemoryLog(events), Pulse(clock), Statistics(clock)
    app.state.parts = Parts(
        desk=Desk(commands=MemoryLog(commands), events=log, signals=signals, reads=reads, now=clock.now),
        reads=reads,
        signals=signals,
        pulse=pulse,
        statistics=statistics,
        credentials=Credentials(digest(TOKEN)),
        probes={"NATS": log.last_seq, "PostgreSQL": lambda: reads.position("EVT")},
        new_id=random_id,
        version="9.9.9",
    )
    transport = httpx.ASGITransport(app)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://roost", headers=headers) as http:
        made = Api(app, http, tables, commands, events, signals, pulse, statistics, clock)
        made.know(a_vm(), a_host())
        # The framework makes its routes at the first request: 40 ms that are no test's, nor the service's,
        # which has its description written before it serves.
        await http.get("/nothing")
        yield made
