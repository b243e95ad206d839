"""Ask for things as a client that never gives up, and see that all is right afterwards."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx

from events.ids import VmId
from events.values import VmPhase
from infra.readmodel.postgres import PostgresReadModel
from infra.runtime.errors import Unavailable
from sim.log import verify
from sim.settings import AuditSettings
from tests.support.eventually import eventually

WITHIN_S = 60.0
ENDS = {"succeeded", "failed"}


@dataclass(frozen=True)
class Asked:
    """One request, and what the VM is when it has been met."""

    method: str
    path: str
    phase: VmPhase
    body: Mapping[str, Any] = field(default_factory=dict)

    @property
    def runs(self) -> bool:
        """Whether QEMU is there."""
        return self.phase in {VmPhase.RUNNING, VmPhase.PAUSED}


SPEC = {"vcpus": 1, "memory_mib": 128, "image": "tiny", "disks": [{"name": "data", "size_mib": 8}]}
_ACTION = "/vms/{vm}/actions/"
ASKED: Mapping[str, Asked] = {
    "create": Asked("POST", "/vms", VmPhase.STOPPED, SPEC),
    "start": Asked("POST", _ACTION + "start", VmPhase.RUNNING),
    "pause": Asked("POST", _ACTION + "pause", VmPhase.PAUSED),
    "resume": Asked("POST", _ACTION + "resume", VmPhase.RUNNING),
    "reboot": Asked("POST", _ACTION + "reboot", VmPhase.RUNNING, {"grace_s": 20}),
    "update": Asked("PATCH", "/vms/{vm}", VmPhase.RUNNING, {"on_io_error": "kill", "priority": 7}),
    "stop": Asked("POST", _ACTION + "stop", VmPhase.STOPPED),
    "start-paused": Asked("POST", _ACTION + "start", VmPhase.PAUSED, {"paused": True}),
    "reset": Asked("POST", _ACTION + "reset", VmPhase.PAUSED),
    "power-off": Asked("POST", _ACTION + "power-off", VmPhase.STOPPED),
    "delete": Asked("DELETE", "/vms/{vm}", VmPhase.DELETED),
}
"""The flows of one VM's life, in their order."""


@dataclass
class Client:
    """A running roost from the outside, and the ways to look inside."""

    http: httpx.AsyncClient
    reads: PostgresReadModel
    settings: AuditSettings
    guests: Callable[[VmId], int]
    """Count the guests of a VM that really run, on whichever host."""
    operations: list[str] = field(default_factory=list)

    async def do(self, flow: str, vm: str, key: str) -> str:
        """Ask for *flow* under one key until it has ended, whoever dies meanwhile; give the VM's id."""
        asked, told = ASKED[flow], dict[str, str]()
        path = asked.path.format(vm=vm)
        body = {**asked.body, "name": vm} if flow == "create" else asked.body

        async def ended() -> bool:
            try:
                headers = {"Idempotency-Key": key}
                answer = await self.http.request(asked.method, f"{path}?wait=5", json=body, headers=headers)
            except httpx.TransportError:
                return False  # The API is being started again: the same key means the same command.
            if answer.status_code == 503:
                return False
            assert answer.status_code == 202, f"{flow} {vm}: {answer.status_code} {answer.text}"
            found = answer.json()
            told.update(id=found["target"]["id"], state=found["state"], operation=found["id"])
            told["why"] = str(found["error"])
            return found["state"] in ENDS

        await eventually(ended, f"{flow} of {vm} has ended", WITHIN_S)
        assert told["state"] == "succeeded", f"{flow} of {vm}: {told}"
        self.operations.append(told["operation"])
        return told["id"]

    async def settled(self, flow: str, vm: str) -> None:
        """Wait until the VM is as *flow* leaves it, and see that the hosts agree."""
        vm_id = VmId(UUID(vm.removeprefix("vm_")))
        phase, wanted = ASKED[flow].phase, int(ASKED[flow].runs)

        async def there() -> bool:
            try:
                row = await self.reads.vm(vm_id)
            except Unavailable:
                return False
            return row is not None and row.phase is phase

        await eventually(there, f"{vm} is {phase}", WITHIN_S)
        await eventually(lambda: self.guests(vm_id) == wanted, f"{wanted} guests of {vm} run", WITHIN_S)

    async def verified(self) -> None:
        """See that the log, and all that was made of it, are whole."""
        findings = await verify(self.settings, lambda _: None)
        faults = [f"{one.check}: {fault}" for one in findings for fault in one.faults]
        assert not faults, faults
