"""Tell a scheduler's story: given what is in the log, when a command or a fact comes, then these events."""

from dataclasses import dataclass, field, replace

from events import subjects
from events.codes import Code
from events.commands import Command, CreateVm, StartVm
from events.desired import DesiredVm
from events.events import CommandEnded, Event, Outcome, VmDesired
from events.facts import HostReported, VmFact
from events.ids import CommandId, HostId, Seq, VmId
from events.spec import RunOnce, VmSpec
from events.vm import Vm
from services.scheduler.core.decide import decide
from services.scheduler.core.decision import NOTHING, Decision, Scene
from services.scheduler.core.settle import settle
from services.scheduler.core.weights import Policy
from services.scheduler.core.world import World
from tests.support.builders import VM, command_id, vm_id

STARTS = 900
"""The start of VM 1 is the command of this number and 1."""


@dataclass
class Story:
    """A log in memory and the world folded from it."""

    world: World = field(default_factory=World)
    stored: list[tuple[str, Event]] = field(default_factory=list)
    silent: frozenset[HostId] = frozenset()
    last: Decision = NOTHING
    policy: Policy = Policy.BALANCED

    def store(self, subject: str, event: Event) -> None:
        """Put one event in the log."""
        self.stored.append((subject, event))
        self.world.fold(subjects.parse_event(subject), Seq(len(self.stored)), event)

    def given(self, *events: Event | Command) -> "Story":
        """Put events where they belong; a command is decided, and what follows from it is stored."""
        for event in events:
            if isinstance(event, Command):
                self._store(decide(command_id(len(self.stored) + 500), event, self.scene(event.vm_id, event)))
            else:
                self.store(subject_of(event), event)
        return self

    def silence(self, *hosts: HostId) -> "Story":
        """Let hosts be heard no more."""
        return replace(self, silent=self.silent | frozenset(hosts))

    def when(self, asked: Command | VmFact, number: int = 1) -> "Story":
        """Decide a command, whose id has this *number*, or store a fact and settle what follows."""
        if isinstance(asked, Command):
            self.last = decide(command_id(number), asked, self.scene(asked.vm_id, asked))
        else:
            self.store(subject_of(asked), asked)
            self.last = settle(self.scene(asked.vm_id))
        self._store(self.last)
        return self

    def then(self, *types: str) -> "Story":
        """See that exactly events of these types followed."""
        assert [change.event.TYPE for change in self.last.changes] == list(types)
        return self

    def ends(self, number: int, outcome: Outcome, code: Code | None = None) -> CommandEnded:
        """See that the command of this *number* ended now, once and so; give its end."""
        ended = [one for one in self.ended if one.command_id == command_id(number)]
        assert [(one.outcome, one.code) for one in ended] == [(outcome, code)]
        return ended[0]

    @property
    def ended(self) -> list[CommandEnded]:
        """The commands that the last decision ended."""
        return [change.event for change in self.last.changes if isinstance(change.event, CommandEnded)]

    def event(self, type_: str) -> Event:
        """Give the one event of this type that followed."""
        (found,) = [change.event for change in self.last.changes if type_ == change.event.TYPE]
        return found

    def scene(self, vm_id: VmId = VM, command: Command | None = None) -> Scene:
        """What a decision would read now."""
        known = self.world.vms.get(vm_id)
        vm = known.value if known is not None else None
        name = command.spec.name if isinstance(command, CreateVm) else vm.spec.name if vm else "no-name"
        claim = subjects.parse_event(subjects.name_claim(name)).id
        return self.world.scene(vm_id, claim, ~self.world.fleet.mask(self.silent), policy=self.policy)

    def pending(self, vm_id: VmId = VM) -> list[CommandId]:
        """The commands that wait on a VM."""
        vm = self.world.vms[vm_id].value
        return [one.command_id for one in vm.pending] if vm is not None else []

    def vm(self, vm_id: VmId = VM) -> Vm:
        """A VM as it is now."""
        vm = self.world.vms[vm_id].value
        assert vm is not None
        return vm

    def entry(self) -> DesiredVm:
        """The last entry that any host was told."""
        return self.entries()[-1][1]

    def entries(self) -> list[tuple[HostId, DesiredVm]]:
        """Every entry that a host was told, in order."""
        return [
            (HostId(subjects.parse_event(subject).uuid), event.entry)
            for subject, event in self.stored
            if isinstance(event, VmDesired)
        ]

    def _store(self, decision: Decision) -> None:
        for change in decision.changes:
            self.store(change.subject, change.event)


def given(*events: Event | Command) -> Story:
    """Begin a story."""
    return Story().given(*events)


def subject_of(event: Event) -> str:
    """Say where an event belongs; claims are made by commands alone."""
    if isinstance(event, HostReported):
        return subjects.host_fact(event.host_id)
    if isinstance(event, VmFact):
        return subjects.vm_fact(event.vm_id, event.host_id)
    host = getattr(event, "host", None)
    if host is not None:
        return subjects.host_ctl(host.host_id)
    vm = getattr(event, "vm", None)
    assert vm is not None, f"{event.TYPE} has no place of its own in a story"
    return subjects.vm_ctl(vm.vm_id)


def start(story: Story, number: int, wanted: VmSpec, on: HostId | None = None) -> HostId | None:
    """Create and start the VM of this *number*, on one host alone if that is named; give its host."""
    named = wanted.model_copy(update={"name": f"vm-{number}"})
    story.given(CreateVm(vm_id=vm_id(number), spec=named))
    once = RunOnce(host_id=on) if on is not None else None
    story.when(StartVm(vm_id=vm_id(number), once=once), number=STARTS + number)
    return where(story, vm_id(number))


def where(story: Story, vm: VmId) -> HostId | None:
    """Give the host of a VM."""
    placed = story.vm(vm).placement
    return placed.host_id if placed is not None else None


def refused(story: Story, number: int) -> list[tuple[str, str, str, str]]:
    """Give what the start of the VM of this *number* said of each host."""
    facts = story.ends(STARTS + number, Outcome.FAILED, Code.NO_HOST_FITS).facts
    return [(one["host"], one["filter"], one["needs"], one["has"]) for one in facts["refusals"]]
