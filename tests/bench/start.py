"""How long a start takes: to libvirt's create call, and as a whole against libvirt alone."""

import asyncio
import http.client
import json
import re
import statistics
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid5

import libvirt

from events.ids import NAMESPACE
from infra.dev.stack import Stack, Wanted
from tests.bench.result import Result, percentile, spread

STARTS = 50
PAIRS = 31
WARM_UP = 2
TIMEOUT_S = 60
KEPT_S = 3.0
"""The API closes a connection on which nothing was asked for 5 s."""
CREATED = re.compile(r'"event": "domain_create".*"timestamp": "([^"]+)"')


class Api:
    """One kept connection to the API, as an integrator's program would have."""

    def __init__(self, stack: Stack) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", stack.api_port, timeout=TIMEOUT_S)
        self._used = time.monotonic()
        self._headers = {"Authorization": f"Bearer {stack.token}", "Content-Type": "application/json"}

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Call, and take anything but success as the end of the measurement."""
        if time.monotonic() - self._used > KEPT_S:
            self._connection.close()
        self._connection.request(method, f"/api/v1{path}", json.dumps(body or {}), self._headers)
        answer = self._connection.getresponse()
        found: dict[str, Any] = json.loads(answer.read())
        self._used = time.monotonic()
        if answer.status >= 300 or found.get("state") == "failed":
            raise RuntimeError(f"{method} {path}: {answer.status} {found}")
        return found

    def create(self, name: str, memory_mib: int = 128) -> str:
        """Make a VM; give its id."""
        spec = {"name": name, "vcpus": 1, "memory_mib": memory_mib, "image": "tiny"}
        made = self.call("POST", f"/vms?wait={TIMEOUT_S}", spec)
        vm_id: str = made["target"]["id"]
        return vm_id

    def start(self, vm_id: str) -> dict[str, Any]:
        """Start it and wait until QEMU runs."""
        return self.call("POST", f"/vms/{vm_id}/actions/start?wait={TIMEOUT_S}")

    def power_off(self, vm_id: str) -> None:
        """End it at once and wait until it is gone."""
        self.call("POST", f"/vms/{vm_id}/actions/power-off?wait={TIMEOUT_S}")

    def delete(self, vm_id: str) -> None:
        """Forget it."""
        self.call("DELETE", f"/vms/{vm_id}?wait={TIMEOUT_S}")


def measure() -> Sequence[Result]:
    """Run both measurements on one stack with one real libvirt host."""
    with tempfile.TemporaryDirectory(prefix="roost-bench-") as folder:
        Path(folder).chmod(0o711)
        return asyncio.run(_measure(Path(folder)))


async def _measure(folder: Path) -> Sequence[Result]:
    stack = Stack(Wanted(folder, hosts=1, hypervisor="libvirt", api_port=0), lambda _: None)
    await stack.start()
    try:
        return [
            *await asyncio.to_thread(_accept_to_create, stack),
            await asyncio.to_thread(_ratio, stack),
        ]
    finally:
        await stack.stop()


def _accept_to_create(stack: Stack) -> Sequence[Result]:
    api = Api(stack)
    accepted = []
    for number in range(WARM_UP + STARTS):
        vm_id = api.create(f"bench-accept-{number}")
        accepted.append(datetime.fromisoformat(api.start(vm_id)["accepted_at"]))
        api.power_off(vm_id)
    log = stack.children.children[stack.hosts[0].name].log.read_text()
    created = [datetime.fromisoformat(at) for at in CREATED.findall(log)]
    assert len(created) == len(accepted), f"{len(accepted)} starts, {len(created)} create calls"
    gaps = [(after - before).total_seconds() * 1000 for before, after in zip(accepted, created, strict=True)]
    detail = spread(gaps[WARM_UP:])
    return [
        Result("start.accept_to_create_ms_p50", round(percentile(gaps[WARM_UP:], 0.5), 2), "ms", 25, detail),
        Result(
            "start.accept_to_create_ms_p99", round(percentile(gaps[WARM_UP:], 0.99), 2), "ms", 100, detail
        ),
    ]


def _ratio(stack: Stack) -> Result:
    """Start by roost and by libvirt alone in turn: the same domain, on the same host, from the same XML."""
    assert stack.lab is not None
    api = Api(stack)
    vm_id = api.create("bench-ratio")
    connection = libvirt.open(stack.lab.hosts[0].uri)
    ours, theirs = [], []
    xml = ""
    for _ in range(WARM_UP + PAIRS):
        began = time.perf_counter()
        api.start(vm_id)
        ours.append((time.perf_counter() - began) * 1000)
        xml = xml or same_but_another(connection, vm_id)
        api.power_off(vm_id)
        began = time.perf_counter()
        domain = connection.defineXML(xml)
        domain.create()
        theirs.append((time.perf_counter() - began) * 1000)
        domain.destroy()
        domain.undefine()
    connection.close()
    ours, theirs = ours[WARM_UP:], theirs[WARM_UP:]
    ratio = statistics.median(one / other for one, other in zip(ours, theirs, strict=True))
    detail = {
        "roost_ms": spread(ours),
        "libvirt_ms": spread(theirs),
        "ratio_of_medians": round(statistics.median(ours) / statistics.median(theirs), 3),
        "machine_limit": "libvirt_ms",
    }
    return Result("start.ratio_to_libvirt", round(ratio, 3), "ratio", 1.10, detail)


def same_but_another(connection: Any, vm_id: str) -> str:
    """Take the definition of the running domain, with an id and a name of its own."""
    raw_id = vm_id.removeprefix("vm_")
    domain = connection.lookupByUUIDString(raw_id)
    xml: str = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    xml = xml.replace(raw_id, str(uuid5(NAMESPACE, raw_id)))
    return xml.replace(f"<name>{domain.name()}</name>", f"<name>{domain.name()}-raw</name>")
