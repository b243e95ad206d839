"""Keep the scheduler's world up to date with the log, and the hosts' heartbeats with the clock."""

from collections.abc import Iterable, Sequence
from uuid import UUID

import numpy as np
import structlog

from events import codec, subjects
from events.codes import Code
from events.envelope import Message
from events.events import CommandEnded, Event, VmPlaced
from events.ids import BEGINNING, CommandId, HostId, Seq, VmId
from events.places import in_place
from events.vm import Vm
from infra.eventlog.port import EventLog, Recorded
from infra.runtime.clock import Clock
from infra.runtime.errors import Unavailable
from services.scheduler.core.decision import Decision, Known, Scene
from services.scheduler.core.fleet import Mask
from services.scheduler.core.weights import Policy
from services.scheduler.core.world import World

SILENT_S = 6.0
"""A host not heard for this long gets no new VMs. No proof of death: nothing that runs is touched."""

ALIVE_FOR_S = 0.25
"""For how long who is heard is taken to be as it was: with thousands of hosts it takes a while to look."""
DEAF_S = 30.0
"""While nobody at all is heard, for how long we suspect our own connection rather than every host."""

ENDS_MAX = 50_000
"""Ends of commands in each of the two halves that are remembered, about 10 MiB together."""

GROUPS = "evt.group."


class Memory:
    """The world as last read, with what cannot be read."""

    def __init__(
        self,
        log: EventLog,
        commands: EventLog,
        clock: Clock,
        policy: Policy = Policy.BALANCED,
        world: World | None = None,
    ) -> None:
        self._log = log
        self._commands = commands
        self._clock = clock
        self._policy = policy
        self._heard: dict[HostId, float] = {}
        self._alive, self._alive_at = np.zeros(0, np.bool_), float("-inf")
        self._since = self._last_heard = clock.monotonic()
        self.unreadable: dict[str, str] = {}
        """Subject to the reason why its last message cannot be read: nothing is decided on those."""
        self.world = World() if world is None else world
        self._ends, self._older_ends = set[CommandId](), set[CommandId]()
        self._ends_of: Seq | None = None
        self._older_ends_of: Seq | None = None
        """Of all commands after this one in CMD the half holds the end, if any; None: not known yet."""
        self._followed = self._jumped = BEGINNING
        self._wrote: set[Seq] = set()
        """What we have stored and not yet met as we follow."""

    async def fill(self) -> Seq:
        """Read the last word on every subject; give the position to follow the log from."""
        self._followed = await self._log.last_seq()
        self._ends, self._ends_of = set(), None
        await self.remember_ends()
        self._older_ends, self._older_ends_of = set(), None
        found = await self._log.last_per_subject(subjects.EVT_ALL)
        newest = max((recorded.seq for recorded in found), default=BEGINNING)
        if newest < self._followed:
            # Of several nodes the one that read this may lag: members of groups would be missed for good.
            raise Unavailable("event log", f"what was read ends at {newest}, the log at {self._followed}")
        for recorded in found:
            if recorded.subject.startswith(GROUPS) and recorded.seq > self._followed:
                continue  # Its members may not be known yet: it comes after them as we follow.
            self.fold(recorded)
            self._jumped = max(self._jumped, recorded.seq)
        return self._followed

    async def remember_ends(self) -> None:
        """Begin a new half, and forget the older: of commands from before that nothing is known any more."""
        if self._ends_of is not None:
            self._older_ends, self._older_ends_of = self._ends, self._ends_of
            self._ends, self._ends_of = set(), None
        # Asked when the half has begun: whatever comes after this one ends in it.
        self._ends_of = await self._commands.last_seq()

    @property
    def too_many_ends(self) -> bool:
        """Whether it is time to begin a new half."""
        return len(self._ends) >= ENDS_MAX

    def has_ended(self, command_id: CommandId, seq: Seq) -> bool | None:
        """Tell whether the command at *seq* of CMD has ended before what we know of its VM; None: look it up.

        The consumer's own word is none: a server that was killed delivers again, as for the first time, what
        was acknowledged (measured: all of the last second's).
        """
        if command_id in self._ends or command_id in self._older_ends:
            return True
        # While we have read ahead of what we follow, an end may lie in between.
        since = self._older_ends_of if self._older_ends_of is not None else self._ends_of
        known = since is not None and seq > since and self._jumped <= self._followed
        return False if known else None

    def follow(self, recorded: Recorded) -> None:
        """Take in the next message of the log. Most are our own: reading those again would take its time."""
        if recorded.seq in self._wrote:
            self._wrote.remove(recorded.seq)
        else:
            self.fold(recorded)
        self._followed = recorded.seq

    def wrote(self, subject: str, seq: Seq, event: Event) -> None:
        """Take in what we have stored ourselves."""
        self.world.fold(subjects.parse_event(subject), seq, event)
        self._note_end(event)
        if seq > self._followed:
            self._wrote.add(seq)

    def fold(self, recorded: Recorded) -> None:
        """Take in one message; remember aloud what cannot be read."""
        try:
            subject = subjects.parse_event(recorded.subject)
            _, message = codec.decode(recorded.body)
            if not in_place(subject, message):
                raise ValueError(f"{message.TYPE} does not belong on {recorded.subject}")
            self.world.fold(subject, recorded.seq, message)
            self._note_end(message)
            self.unreadable.pop(recorded.subject, None)
        except (codec.Undecodable, ValueError) as err:
            self.unreadable[recorded.subject] = str(err)
            structlog.get_logger().error(
                "event_unreadable", seq=recorded.seq, subject=recorded.subject, reason=str(err)
            )

    async def refresh(self, wanted: Sequence[str]) -> None:
        """Read the last word on each of *wanted* from the log itself.

        Never a group's, which would be newer than what is known of its VMs: those come as we follow.
        """
        for subject in wanted:
            recorded = await self._log.load(subject)
            if recorded is not None:
                self.fold(recorded)
                self._jumped = max(self._jumped, recorded.seq)

    def _note_end(self, message: Message) -> None:
        if isinstance(message, CommandEnded):
            self._ends.add(message.command_id)

    def heard(self, subject: str, body: bytes) -> None:  # noqa: ARG002 - the beat itself is the news
        """Note a heartbeat."""
        try:
            host_id = HostId(UUID(subject.rpartition(".")[2]))
        except ValueError:
            structlog.get_logger().warning("heartbeat_from_nobody", subject=subject)
            return
        now = self._clock.monotonic()
        if now - self._last_heard >= SILENT_S:
            self._since = now  # All were silent at once: it was we who did not hear. Listen anew.
        if host_id not in self._heard or now - self._heard[host_id] >= SILENT_S - ALIVE_FOR_S:
            self._alive_at = float("-inf")  # It is back: to be looked at.
        self._heard[host_id] = self._last_heard = now

    @property
    def alive(self) -> Mask:
        """Tell of each host of the fleet whether it was heard lately, as seen at most ALIVE_FOR_S ago."""
        now, fleet = self._clock.monotonic(), self.world.fleet
        stale = len(self._alive) != len(fleet) or now - self._alive_at >= ALIVE_FOR_S
        if stale:
            self._alive = fleet.mask([host for host, at in self._heard.items() if now - at < SILENT_S])
            self._alive_at = now
        return self._alive

    @property
    def silent(self) -> frozenset[HostId]:
        """The hosts of the fleet not heard lately."""
        return frozenset(
            view.host.host_id for view, alive in zip(self.world.fleet, self.alive, strict=True) if not alive
        )

    @property
    def listening(self) -> bool:
        """Whether we listen for long enough to take silence for silence."""
        now = self._clock.monotonic()
        deaf = SILENT_S <= now - self._last_heard < DEAF_S
        return now - self._since >= SILENT_S and not deaf

    def too_early(self, decision: Decision) -> bool:
        """Tell whether it would be another, had we listened for heartbeats for long enough.

        No host fits, or the one that has the VM's disks was passed by.
        """
        if self.listening or not self.silent:
            return False
        if decision.no_host:
            return True
        for change in decision.changes:
            match change.event:
                case CommandEnded(code=Code.NO_HOST_FITS):
                    return True
                case VmPlaced(vm=vm, placement=placement):
                    if vm.made_disks and vm.last_host_id in self.silent:
                        return placement.host_id != vm.last_host_id
                case _:
                    pass
        return False

    def reads(self, vm_id: VmId) -> Sequence[str]:
        """Name the subjects that every decision about a VM reads: its own, and its placed host's."""
        known = self.world.vms.get(vm_id)
        placement = known.value.placement if known is not None and known.value is not None else None
        hosts = [subjects.host_ctl(placement.host_id)] if placement is not None else []
        return [subjects.vm_ctl(vm_id), *hosts]

    def any_unreadable(self, wanted: Iterable[str]) -> bool:
        """Tell whether one cannot be read (said when it was): nothing is decided on that.

        A VM that cannot be read may be a member of any group.
        """
        if not self.unreadable:
            return False
        wanted = list(wanted)
        if any(subject in self.unreadable for subject in wanted):
            return True
        grouped = any(subject.startswith(GROUPS) for subject in wanted)
        return grouped and any(_is_of_a_vm(subject) for subject in self.unreadable)

    def scene(self, vm_id: VmId, name: str | None) -> Scene:
        """Show what a decision about *vm_id* reads; *name* is the VM's, where it is not known yet."""
        known = self.world.vms.get(vm_id)
        vm = known.value if known is not None else None
        name = vm.spec.name if vm is not None else name
        claim = subjects.parse_event(subjects.name_claim(name)).id if name is not None else None
        return self.world.scene(vm_id, claim, self.alive, self._readable(), self._policy)

    def seq(self, vm_id: VmId) -> Seq:
        """Give the sequence of the last word on a VM that decisions read; 0 before the first."""
        return self.world.vms.get(vm_id, Known[Vm]()).seq

    def _readable(self) -> Mask | None:
        """Tell whose last word can be read; None: everybody's."""
        if not self.unreadable:
            return None
        hosts = (view.host.host_id for view in self.world.fleet)
        bad = [host_id for host_id in hosts if subjects.host_ctl(host_id) in self.unreadable]
        return ~self.world.fleet.mask(bad) if bad else None


def _is_of_a_vm(subject: str) -> bool:
    return subject.startswith("evt.vm.") and subject.endswith(f".{subjects.CTL}")
