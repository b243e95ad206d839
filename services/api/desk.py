"""Take commands in: give each its identity, store it once, and say what became of it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from events import codec, subjects
from events.codes import Code
from events.commands import Command, CreateVm
from events.envelope import Origin, Sealed
from events.ids import CommandId, EventId, Seq, command_id
from events.values import VmPhase
from events.views import OperationState, OperationView, VmView
from infra.eventlog.port import Conflict, EventLog, LogFull, Recorded, Signals, Write
from infra.readmodel.port import ReadModel
from infra.runtime.errors import Unavailable
from services.api.core import ids
from services.api.core.problems import Problem
from services.api.lookup import may_exist, soon
from services.api.watching import watching

SOURCE = "roost/api"
RETRY_AFTER = {"Retry-After": "1"}

TRUST_AFTER_S = 1.0
"""How long the read model may take to know the VM; a PostgreSQL that hangs must not delay a stop for long."""


Check = Callable[[VmView], None]
"""What a command must meet at the door, given the row of its VM; raises Problem."""


def anything(_: VmView) -> None:
    """Ask nothing more of a VM than to be there."""


@dataclass(frozen=True)
class Ask:
    """Who asks, under which idempotency key, and how long the answer may wait for the end."""

    principal: str
    key: str
    wait_s: float

    @property
    def command_id(self) -> CommandId:
        """The one command that this principal can mean by this key."""
        return command_id(self.principal, self.key)


class Desk:
    """Where commands are handed in."""

    def __init__(
        self,
        *,
        commands: EventLog,
        events: EventLog,
        signals: Signals,
        reads: ReadModel,
        now: Callable[[], datetime],
    ) -> None:
        self._commands = commands
        self._events = events
        self._signals = signals
        self._reads = reads
        self._now = now

    async def take(self, ask: Ask, command: Command, check: Check = anything) -> OperationView:
        """Store *command* unless it is stored already; give its operation, ended if that came in time.

        A repetition is not checked again: its VM has changed since, perhaps by this very command.
        Raises Problem: no_such_vm, key_reused, log_unavailable, log_full, and what *check* raises.
        """
        known = await self._known(ask, command, check)
        if not ask.wait_s or (known is not None and known.state.ended):
            return await self._hand_in(ask, command, known)
        async with watching(self._signals, self._reads, ask.command_id) as watch:
            accepted = await self._hand_in(ask, command, known)
            return await watch.until_ended(ask.wait_s) or accepted

    async def _known(self, ask: Ask, command: Command, check: Check) -> OperationView | None:
        """Give the operation if this is a repetition; else make sure that there is such a VM, or may be.

        With the read model away a command is taken on trust: whether the VM exists is then the
        scheduler's to say, and losing PostgreSQL must not keep anybody from stopping a VM.
        """
        try:
            async with asyncio.timeout(TRUST_AFTER_S):
                known, vm = await asyncio.gather(
                    self._reads.operation(ask.command_id), self._reads.vm(command.vm_id)
                )
                if known is not None:
                    # The verb is in the command alone, which may not be projected yet.
                    if known.vm_id != command.vm_id or known.verb not in {"", command.VERB}:
                        raise _reused(ask)
                    return known
                if isinstance(command, CreateVm):
                    return None
                vm = vm or await soon(lambda: self._reads.vm(command.vm_id))
                if vm is not None and vm.phase is not VmPhase.DELETED:
                    check(vm)
                    return None
                if vm is None and await may_exist(self._reads, self._events, command.vm_id):
                    return None
        except (Unavailable, TimeoutError):
            return None
        raise Problem(Code.NO_SUCH_VM, {"vm": ids.show_vm(command.vm_id)})

    async def _hand_in(self, ask: Ask, command: Command, known: OperationView | None) -> OperationView:
        """Append what is new and read back what lies there: only that tells a repetition from a new request.

        What is *known* is never appended again: CMD forgets in time, and it would be done a second time.
        """
        subject = subjects.command(command.vm_id, ask.command_id)
        body = codec.encode(self._sealed(ask, command, subject))
        stored = await self._stored(ask, Write(subject, ask.command_id, body), known)
        if stored is None and known is not None:
            return known
        if stored is None or not codec.same_request(stored.body, body):
            raise _reused(ask)
        return known or OperationView(
            operation_id=ask.command_id,
            verb=command.VERB,
            vm_id=command.vm_id,
            state=OperationState.PENDING,
            requested_by=ask.principal,
            accepted_at=codec.decode_envelope(stored.body).time,
        )

    def _sealed(self, ask: Ask, command: Command, subject: str) -> Sealed:
        return Sealed(
            id=EventId(ask.command_id),
            subject=subject,
            time=self._now(),
            origin=Origin(source=SOURCE, actor=ask.principal, correlation=ask.command_id),
            message=command,
        )

    async def _stored(self, ask: Ask, write: Write, known: OperationView | None) -> Recorded | None:
        try:
            if known is None:
                await self._append(write)
            return await self._commands.load(write.subject)
        except LogFull as err:
            raise _refused(ask, Code.LOG_FULL, str(err)) from err
        except Unavailable as err:
            reason = f"{err}; it is not known whether the command was stored"
            raise _refused(ask, Code.LOG_UNAVAILABLE, reason) from err

    async def _append(self, write: Write) -> None:
        try:
            await self._commands.append([write], {write.subject: Seq(0)})
        except Conflict:
            pass  # Something lies there, or the id was used elsewhere; what is read back tells which.


def _refused(ask: Ask, code: Code, reason: str) -> Problem:
    headers = {**RETRY_AFTER, "Idempotency-Key": ask.key}
    return Problem(code, {"reason": reason}, operation=ids.show_operation(ask.command_id), headers=headers)


def _reused(ask: Ask) -> Problem:
    return Problem(Code.KEY_REUSED, {}, operation=ids.show_operation(ask.command_id))
