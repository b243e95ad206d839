"""What the host's daemon adds to libvirt's own work, and what it costs while nothing happens."""

import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import libvirt

from events import codec
from infra.deploy.identities import seed_file
from infra.dev.stack import Stack, Wanted
from infra.eventlog.connection import closer, connect
from infra.eventlog.jetstream import JetStreamLog
from infra.runtime.ids import random_id
from infra.runtime.service import background
from services.hostd.hypervisor.connections import start_event_loop
from tests.bench.result import Result, percentile, spread
from tests.bench.start import Api, same_but_another
from tests.support.eventually import eventually

STARTS, WARM_UP = 30, 2
ROUNDS = 25
TOGETHER = 4
PAUSES = 100
GUESTS = 100
ROOM = {"ROOST_VCPUS_PER_CORE": "8"}
"""What the scheduler is told, so that they all fit on one simulated host of 16 cores."""
IDLE_S = 60.0
"""Six times everything that is done by the clock."""
FACT_TIMEOUT_S = 60.0
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Seen:
    """When each event about a VM came out of the log, by this process's clock in milliseconds."""

    at: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def take(self, vm_id: str, kind: str, number: int) -> float:
        """Wait for the *number*th event (from 0) of a kind and give its time."""
        async with self.news:
            async with asyncio.timeout(FACT_TIMEOUT_S):
                await self.news.wait_for(lambda: len(self.at.get((vm_id, kind), ())) > number)
        return self.at[vm_id, kind][number]

    async def follow(self, log: JetStreamLog) -> None:
        """Note events, for ever."""
        follower = log.follow(await log.last_seq(), ["evt.>"])
        while True:
            for recorded in await follower.next(64, 1.0):
                now = time.perf_counter() * 1000
                envelope = codec.decode_envelope(recorded.body)
                vm_id = str(envelope.data.get("entry", envelope.data).get("vm_id", ""))
                self.at.setdefault((vm_id, envelope.type), []).append(now)
            async with self.news:
                self.news.notify_all()


def measure() -> Sequence[Result]:
    """Run what needs a real host on one stack."""
    with tempfile.TemporaryDirectory(prefix="roost-bench-") as folder:
        Path(folder).chmod(0o711)
        return asyncio.run(_measure(Path(folder)))


async def _measure(folder: Path) -> Sequence[Result]:
    stack = Stack(Wanted(folder, hosts=1, hypervisor="libvirt", api_port=0), lambda _: None)
    await stack.start()
    try:
        async with _following(stack) as seen:
            return [
                await _share(stack, seen),
                await asyncio.to_thread(_parallel, stack),
                await _event_lag(stack, seen),
            ]
    finally:
        await stack.stop()


@asynccontextmanager
async def _following(stack: Stack) -> AsyncIterator[Seen]:
    seed = seed_file(stack.keys, "projector")
    client = await connect(stack.nats.url, seed, "projector", lambda _: None)
    seen = Seen()
    try:
        async with background(seen.follow(JetStreamLog(client, "EVT", random_id))):
            yield seen
    finally:
        await closer(client)()


async def _share(stack: Stack, seen: Seen) -> Result:
    """From the host's order to its word that QEMU runs, without the call that starts QEMU."""
    api = Api(stack)
    vm = await asyncio.to_thread(api.create, "bench-share")
    vm_id = vm.removeprefix("vm_")
    whole = list[float]()
    for _ in range(WARM_UP + STARTS):
        await asyncio.to_thread(api.start, vm)
        number = len(whole)
        booting = await seen.take(vm_id, "vm.booting", number)
        # Each placement is told twice: what shall run, and that it is over.
        whole.append(booting - await seen.take(vm_id, "host.vm_desired", 3 * number))
        await asyncio.to_thread(api.power_off, vm)
    await asyncio.to_thread(api.delete, vm)
    log = stack.children.children[stack.hosts[0].name].log.read_text()
    entries = (json.loads(line) for line in log.splitlines() if '"domain_created"' in line)
    calls = [entry["ms"] for entry in entries]
    assert len(calls) == len(whole), f"{len(whole)} starts, {len(calls)} create calls"
    share = [one - call for one, call in zip(whole, calls, strict=True)][WARM_UP:]
    detail = spread(share) | {"libvirt_call_ms": spread(calls[WARM_UP:]), "machine_limit": "libvirt_call_ms"}
    return Result("hostd.share_ms_p50", round(percentile(share, 0.5), 2), "ms", 15, detail)


def _parallel(stack: Stack) -> Result:
    """Start four guests at once by roost and by libvirt alone, in turn."""
    assert stack.lab is not None
    api = Api(stack)
    vms = [api.create(f"bench-parallel-{number}") for number in range(TOGETHER)]
    ours, theirs, xmls = list[float](), list[float](), list[str]()
    with ThreadPoolExecutor(TOGETHER) as pool, ExitStack() as stop:
        apis = [Api(stack) for _ in vms]
        connections = [libvirt.open(stack.lab.hosts[0].uri) for _ in vms]
        for connection in connections:
            stop.callback(connection.close)
        for _ in range(WARM_UP + ROUNDS):
            began = time.perf_counter()
            list(pool.map(Api.start, apis, vms))
            ours.append((time.perf_counter() - began) * 1000)
            xmls = xmls or [same_but_another(connections[0], vm) for vm in vms]
            for vm in vms:
                api.power_off(vm)
            began = time.perf_counter()
            domains = list(pool.map(_create, connections, xmls))
            theirs.append((time.perf_counter() - began) * 1000)
            for domain in domains:
                domain.destroy()
                domain.undefine()
    for vm in vms:
        api.delete(vm)
    pairs = list(zip(ours, theirs, strict=True))[WARM_UP:]
    ratio = statistics.median(one / other for one, other in pairs)
    detail = {
        "roost_ms": spread([one for one, _ in pairs]),
        "libvirt_ms": spread([other for _, other in pairs]),
        "machine_limit": "libvirt_ms",
    }
    return Result("hostd.parallel_start_ratio", round(ratio, 3), "ratio", 1.15, detail)


def _create(connection: Any, xml: str) -> Any:
    domain = connection.defineXML(xml)
    domain.create()
    return domain


async def _event_lag(stack: Stack, seen: Seen) -> Result:
    """From libvirt's own event, heard beside the daemon, to the event in the log."""
    assert stack.lab is not None
    api = Api(stack)
    vm = await asyncio.to_thread(api.create, "bench-lag")
    vm_id = vm.removeprefix("vm_")
    await asyncio.to_thread(api.start, vm)
    await seen.take(vm_id, "vm.running", 0)
    heard = list[float]()

    def listen(_connection: Any, _domain: Any, event: int, *_: Any) -> None:
        if event == libvirt.VIR_DOMAIN_EVENT_SUSPENDED:
            heard.append(time.perf_counter() * 1000)

    start_event_loop()
    connection = libvirt.open(stack.lab.hosts[0].uri)
    connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, listen, None)
    domain = connection.lookupByUUIDString(vm_id)
    lags = []
    for number in range(PAUSES):
        await asyncio.to_thread(domain.suspend)  # past roost, which says so and lets it go on
        lags.append(await seen.take(vm_id, "vm.paused", number) - heard[number])
        await seen.take(vm_id, "vm.resumed", number)
    connection.close()
    await asyncio.to_thread(api.power_off, vm)
    return Result("hostd.event_lag_ms_p99", round(percentile(lags, 0.99), 2), "ms", 100, spread(lags))


def measure_idle() -> Sequence[Result]:
    """Have one simulated host run many guests, and see what its daemon takes while nothing happens."""
    with tempfile.TemporaryDirectory(prefix="roost-bench-") as folder:
        Path(folder).chmod(0o711)
        return asyncio.run(_measure_idle(Path(folder)))


async def _measure_idle(folder: Path) -> Sequence[Result]:
    stack = Stack(Wanted(folder, hosts=1, hypervisor="sim", api_port=0), lambda _: None)
    with patch.dict(os.environ, ROOM):
        await stack.start()
    try:
        async with _following(stack) as seen:
            api = Api(stack)
            vms = [
                await asyncio.to_thread(api.create, f"bench-idle-{number}", 32) for number in range(GUESTS)
            ]
            for vm in vms:
                await asyncio.to_thread(api.start, vm)
            for vm in vms:
                await seen.take(vm.removeprefix("vm_"), "vm.running", 0)
        pid = stack.children.children["hosts"].pid
        before, over = _cpu_s(pid), time.monotonic() + IDLE_S
        await eventually(lambda: time.monotonic() >= over, "the time of the measurement", 2 * IDLE_S)
        share = (_cpu_s(pid) - before) / IDLE_S * 100
        detail = {"domains": GUESTS, "seconds": IDLE_S}
        return [
            Result("hostd.idle_cpu_pct", round(share, 2), "%", 2, detail),
            Result("hostd.rss_mib", round(_rss_mib(pid), 1), "MiB", 90, detail),
        ]
    finally:
        await stack.stop()


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _rss_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024
