"""Ask for things as a client that never gives up, and see that all is right afterwards."""

from collections.abc import Callable
from dataclasses import dataclass, field
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
PHASES = {"create": "stopped", "start": "running", "stop": "stopped", "delete": "deleted"}


@dataclass
class Client:
    """A running roost from the outside, and the ways to look inside."""

    http: httpx.AsyncClient
    reads: PostgresReadModel
    settings: AuditSettings
    guests: Callable[[VmId], int]
    """Count the guests of a VM that really run, on whichever host."""
    operations: list[str] = field(default_factory=list)

    async def do(self, verb: str, vm: str, key: str) -> str:
        """Ask for *verb* under one key until it has ended, whoever dies meanwhile; give the VM's id."""
        body = {"name": vm, "vcpus": 1, "memory_mib": 128, "image": "tiny"} if verb == "create" else {}
        path = {"create": "/vms", "delete": f"/vms/{vm}"}.get(verb, f"/vms/{vm}/actions/{verb}")
        method, told = "DELETE" if verb == "delete" else "POST", dict[str, str]()

        async def ended() -> bool:
            try:
                headers = {"Idempotency-Key": key}
                answer = await self.http.request(method, f"{path}?wait=5", json=body, headers=headers)
            except httpx.TransportError:
                return False  # The API is being started again: the same key means the same command.
            if answer.status_code == 503:
                return False
            assert answer.status_code == 202, f"{verb} {vm}: {answer.status_code} {answer.text}"
            found = answer.json()
            told.update(id=found["target"]["id"], state=found["state"], operation=found["id"])
            return found["state"] in ENDS

        await eventually(ended, f"{verb} of {vm} has ended", WITHIN_S)
        assert told["state"] == "succeeded", f"{verb} of {vm}: {told}"
        self.operations.append(told["operation"])
        return told["id"]

    async def settled(self, verb: str, vm: str) -> None:
        """Wait until the VM is as *verb* wants it, and see that the hosts agree."""
        vm_id = VmId(UUID(vm.removeprefix("vm_")))
        phase, wanted = VmPhase(PHASES[verb]), int(verb == "start")

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
