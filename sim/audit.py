"""Compare a log, its commands and the rows made of it; whoever calls brings them."""

from collections.abc import AsyncIterable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from events import subjects
from events.codec import Undecodable
from events.ids import CommandId, Seq
from events.views import Rows, StepView
from infra.eventlog.port import Recorded
from services.projector.core.reading import Seen, read
from sim.checkers.commands import account
from sim.checkers.history import History, Kept
from sim.checkers.ledger import Ledger
from sim.checkers.rebuild import Rebuild
from sim.checkers.stream import Wholeness
from sim.reading import readable

SAY_EVERY = 10_000


@dataclass(frozen=True)
class Finding:
    """One thing that must hold, what was looked at, and what does not hold."""

    check: str
    looked_at: str
    faults: Sequence[str]


@dataclass(frozen=True)
class Tables:
    """The read models at one instant."""

    positions: Mapping[str, Seq]
    rows: Rows
    steps: Sequence[StepView]
    history: AsyncIterable[Kept]

    def at(self, stream: str) -> Seq:
        """Say how far *stream* is projected."""
        return self.positions.get(stream, Seq(0))


@dataclass
class Audit:
    """One pass over everything.

    On a live system the order makes it exact: first how far commands are settled, then the tables at one
    instant, then EVT, then CMD. What is read later holds all that the earlier one can speak of.
    """

    settled: Seq
    tables: Tables
    say: Callable[[str], None]
    ledger: Ledger = field(default_factory=Ledger)
    rebuild: Rebuild = field(default_factory=Rebuild)
    asked: dict[CommandId, Seq] = field(default_factory=dict)
    unreadable: int = 0

    async def run(self, evt: AsyncIterable[Recorded], cmd: AsyncIterable[Recorded]) -> Sequence[Finding]:
        """Read all; give what each check found."""
        events, commands = Wholeness("EVT"), Wholeness("CMD")
        history = await self._events(evt, events)
        await self._commands(cmd, commands)
        return [
            _whole(events, commands),
            Finding("history equals the log", self._projected(events), history.faults),
            self._ends(whole=commands.count == commands.last),
            self._reserved(),
            self._rebuilt(),
        ]

    async def _events(self, evt: AsyncIterable[Recorded], events: Wholeness) -> History:
        history = History(self.tables.history)
        async for recorded in evt:
            events.take(recorded)
            if events.count % SAY_EVERY == 0:
                self.say(f"{events.count} events read")
            seen = self._read(recorded)
            event = seen.message if seen is not None else readable(recorded)
            if event is not None:
                self.ledger.take(event)
            if recorded.seq <= self.tables.at("EVT"):
                if seen is not None:
                    self.rebuild.take(seen)
                await history.compare(Kept(recorded.seq, recorded.subject, recorded.body))
        await history.end()
        return history

    async def _commands(self, cmd: AsyncIterable[Recorded], commands: Wholeness) -> None:
        async for recorded in cmd:
            commands.take(recorded)
            seen = self._read(recorded)
            try:
                self.asked[subjects.parse_command(recorded.subject)[1]] = recorded.seq
            except ValueError:
                continue  # No command of ours: the scheduler puts it aside as well.
            if seen is not None and recorded.seq <= self.tables.at("CMD"):
                self.rebuild.take(seen)

    def _read(self, recorded: Recorded) -> Seen | None:
        """Read one message as the projector does: what it cannot read is parked, and makes no row."""
        try:
            return read(recorded.seq, recorded.subject, recorded.body)
        except Undecodable:
            self.unreadable += 1
            return None

    def _projected(self, events: Wholeness) -> str:
        at = self.tables.at("EVT")
        return f"{at} of {events.last} events projected, {self.unreadable} unreadable"

    def _ends(self, *, whole: bool) -> Finding:
        told = account(self.asked, self.settled, self.ledger, whole=whole)
        looked_at = f"{told.ended} ended, {told.pending} under way, {told.waiting} waiting"
        return Finding("commands end once", looked_at, told.faults)

    def _reserved(self) -> Finding:
        looked_at = f"{len(self.ledger.hosts)} hosts, {len(self.ledger.vms)} VMs"
        return Finding("reservations equal placements", looked_at, self.ledger.faults())

    def _rebuilt(self) -> Finding:
        rows, steps = self.tables.rows, self.tables.steps
        counts = (len(rows.vms), len(rows.hosts), len(rows.operations), len(steps))
        looked_at = "{} VMs, {} hosts, {} operations, {} steps".format(*counts)
        return Finding("rows equal a rebuild", looked_at, self.rebuild.faults(rows, steps, self.asked))


def _whole(events: Wholeness, commands: Wholeness) -> Finding:
    events.begins_at(Seq(1))
    again = f", {events.repeated} facts again" if events.repeated else ""
    looked_at = f"{events.count} events, {commands.count} commands{again}"
    return Finding("streams are whole", looked_at, [*events.faults, *commands.faults])
