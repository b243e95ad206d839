"""Nothing that serves a request is taken to a thread: the first hop imports for 20 ms, each waits a turn."""

from typing import Any

import anyio.to_thread
import pytest

from services.api.core.ids import show_vm
from tests.unit.api.conftest import Api
from tests.unit.api.rows import VM


async def test_no_route_runs_on_a_thread(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[object] = []

    async def on_a_thread(what: Any, *args: Any, **_: Any) -> Any:
        taken.append(what)
        return what(*args)

    monkeypatch.setattr(anyio.to_thread, "run_sync", on_a_thread)
    for path in ("/livez", "/readyz", "/version", "/metrics"):
        assert (await api.http.get(path)).is_success
    for path in ("/vms", f"/vms/{show_vm(VM)}", "/hosts", "/operations", "/events", "/openapi.json"):
        assert (await api.get(path)).is_success, path
    assert (await api.post(f"/vms/{show_vm(VM)}/actions/start", key="k1")).is_success
    assert taken == []
