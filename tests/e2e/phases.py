"""Bring a VM into a phase and hold it there, ask for a verb, and see what the hypervisor has of it."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import httpx

from events.values import VmPhase
from events.vm import Verb
from infra.dev.stack import Stack
from infra.lab.failure import LabFailed
from infra.runtime.clock import SystemClock
from services.hostd.hypervisor.simulated import Guest
from tests.support.eventually import eventually

ENDED = {"succeeded", "failed"}
WAIT_S = 60
QMP_TIMEOUT_S = 10.0
HOLDS = {"cmdline": "console=ttyS0 rdinit=/bin/busybox -- sleep 100000"}
"""A guest that sleeps and nothing else: no agent answers, and no power button is heard."""
LONG_S = 600.0
BODIES: Mapping[str, dict[str, Any]] = {
    "reboot": {"grace_s": 8},
    "stop": {"grace_s": 20},
    "update": {"priority": 60},
}


@dataclass
class Stage:
    """A stack with one host, and one VM on it at a time."""

    stack: Stack
    http: httpx.AsyncClient
    numbers: "count[int]" = field(default_factory=count)
    frozen: int | None = None
    """The daemon that must not do anything now."""

    async def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Ask the API and give its answer."""
        answer = await self.http.request(method, path, json=dict(body or {}))
        assert answer.status_code < 300, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    async def ask(self, verb: Verb, vm: str, *, wait: bool = True, **body: Any) -> Any:
        """Ask for *verb*; give the operation, ended if waited for."""
        method, path = {"update": ("PATCH", f"/vms/{vm}"), "delete": ("DELETE", f"/vms/{vm}")}.get(
            verb, ("POST", f"/vms/{vm}/actions/{verb.replace('_', '-')}")
        )
        asked = await self.call(method, f"{path}?wait={WAIT_S if wait else 0}", body or BODIES.get(verb))
        assert not wait or asked["state"] in ENDED, f"{verb} has no end: {asked}"
        return asked

    async def end(self, operation: Any) -> Any:
        """Give an operation when it has ended."""
        found = operation

        async def ended() -> bool:
            nonlocal found
            found = await self.call("GET", f"/operations/{operation['id']}")
            return found["state"] in ENDED

        await eventually(ended, f"the end of {operation['verb']}", WAIT_S)
        return found

    async def phase(self, vm: str) -> str:
        """Give its phase."""
        answer = await self.http.get(f"/vms/{vm}")
        return "deleted" if answer.status_code == 404 else str(answer.json()["phase"])

    async def until(self, vm: str, *phases: str) -> None:
        """Wait until it is in one of *phases*."""

        async def there() -> bool:
            return await self.phase(vm) in phases

        await eventually(there, f"{vm} {' or '.join(phases)}", WAIT_S)

    @asynccontextmanager
    async def held(self, phase: VmPhase) -> AsyncIterator[str]:
        """Make a VM and hold it in *phase*; it is gone afterwards."""
        name = f"{phase}-{next(self.numbers)}"
        spec = {"name": name, "vcpus": 1, "memory_mib": 128, "image": "tiny", "agent_wait_s": LONG_S}
        made = await self.call("POST", f"/vms?wait={WAIT_S}", spec)
        vm: str = made["target"]["id"]
        try:
            await self._bring(vm, phase)
            yield vm
        finally:
            await self.thaw()
        if await self.phase(vm) != "deleted":
            await self.ask("power_off", vm)
            await self.ask("delete", vm)

    async def _bring(self, vm: str, phase: VmPhase) -> None:
        match phase:
            case VmPhase.STARTING:
                self.freeze()
                await self.ask("start", vm, wait=False)
                await self.until(vm, "starting")
            case VmPhase.BOOTING:
                await self.ask("start", vm, once=HOLDS)
            case VmPhase.RUNNING:
                await self.ask("start", vm)
                await self.until(vm, "running")
            case VmPhase.PAUSED:
                await self.ask("start", vm, paused=True)
                await self.until(vm, "paused")
            case VmPhase.STOPPING:
                await self.ask("start", vm, once=HOLDS)
                await self.ask("stop", vm, wait=False, grace_s=LONG_S)
                await self.until(vm, "stopping")
            case _:
                assert phase is VmPhase.STOPPED

    def freeze(self) -> None:
        """Keep the host's daemon from doing anything."""
        name = self.stack.hosts[0].name if self.stack.real else "hosts"
        self.frozen = self.stack.children.children[name].pid
        os.kill(self.frozen, signal.SIGSTOP)

    async def thaw(self) -> None:
        """Let a frozen daemon go on, and wait until it is heard of; it was not frozen: nothing."""
        if self.frozen is None:
            return
        os.kill(self.frozen, signal.SIGCONT)
        self.frozen = None

        async def heard() -> bool:
            hosts = await self.call("GET", "/hosts")
            return all(host["state"] == "up" for host in hosts["items"])

        await eventually(heard, "the host's heartbeat")

    async def seen(self, vm: str) -> str:
        """Say what the hypervisor itself has: `none`, `running` or `paused` (QEMU's own words)."""
        raw_id = vm.removeprefix("vm_")
        if not self.stack.real:
            return self._pretended(raw_id)
        assert self.stack.lab is not None
        host, query = self.stack.hosts[0].name, '{"execute":"query-status"}'
        try:
            said = await asyncio.wait_for(
                self.stack.lab.virsh(host, "qemu-monitor-command", raw_id, query), 10
            )
        except LabFailed:
            return "none"
        status: str = json.loads(said)["return"]["status"]
        return "paused" if status == "prelaunch" else status

    def _pretended(self, raw_id: str) -> str:
        path = next((self.stack.wanted.data / "hosts").glob(f"*/guests/{raw_id}.json"), None)
        if path is None:
            return "none"
        guest = Guest.model_validate_json(path.read_text())
        now = SystemClock().now()
        if guest.ended is not None or (guest.shuts_down_at is not None and guest.shuts_down_at <= now):
            return "none"
        return "paused" if guest.paused is not None else "running"
