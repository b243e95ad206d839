"""Several schedulers at once, each with a world that lags as it likes: no hard rule is ever broken."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from events import subjects
from events.commands import Command, CreateVm, DeleteVm, RebootVm, StartVm, StopVm, UpdateVm, VerbCommand
from events.events import Event
from events.facts import VmFact
from events.ids import HostId, Seq, VmId
from events.spec import RunOnce
from events.values import Resources
from events.wishes import GroupWish, Rule
from services.scheduler.core.decide import decide
from services.scheduler.core.decision import Decision, Known, Scene
from services.scheduler.core.settle import enlist, settle
from services.scheduler.core.world import World
from sim.checkers.ledger import Ledger
from tests.support.builders import (
    apart,
    booting,
    command_id,
    host_id,
    report,
    spec,
    start_failed,
    stopped,
    vm_id,
    wishing,
)

HOSTS = [host_id(number) for number in (1, 2, 3)]
VMS = [vm_id(number) for number in range(6)]
ROOM = Resources(vcpus=6, memory_mib=8192)  # of each host: three VMs
RIVALS = 3

groups = st.lists(
    st.builds(GroupWish, name=st.sampled_from(["db", "web"]), rule=st.sampled_from(Rule), hard=st.booleans()),
    max_size=2,
    unique_by=lambda wish: wish.name,
)
hard_groups = groups.map(lambda some: [one.model_copy(update={"hard": True}) for one in some])
any_groups = st.one_of(hard_groups, groups)


@st.composite
def verbs(draw: st.DrawFn) -> VerbCommand:
    """Mostly starts: it is they that may break a rule."""
    vm = draw(st.sampled_from(VMS))
    wished = [one.model_dump(mode="json") for one in draw(any_groups)]
    found: list[VerbCommand] = [
        *[StartVm(vm_id=vm)] * 3,
        StopVm(vm_id=vm, grace_s=0),
        RebootVm(vm_id=vm, grace_s=0),
        UpdateVm(vm_id=vm, patch={"placement": {"groups": wished}}),
        DeleteVm(vm_id=vm),
    ]
    return draw(st.sampled_from(found))


@dataclass
class Rival:
    """One scheduler: how far it has followed the log, and what it knows."""

    world: World = field(default_factory=World)
    position: int = 0
    heard: frozenset[HostId] = frozenset(HOSTS)


class Rivals(RuleBasedStateMachine):
    """One log with guards, and schedulers that read it as the shell does: in order, but some words ahead."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[tuple[str, Event]] = []
        self.last: dict[str, int] = {}
        self.ledger = Ledger()
        self.rivals = [Rival() for _ in range(RIVALS)]
        self.asked = 100

    @initialize()
    def hosts_join(self) -> None:
        for host in HOSTS:
            self.append(self.rivals[0], [enlist(report(host), self.rivals[0].world.host(host), ROOM)])

    @initialize(wished=st.lists(any_groups, min_size=len(VMS), max_size=len(VMS)))
    def vms_are_there(self, wished: list[list[GroupWish]]) -> None:
        for number, some in enumerate(wished):
            command = CreateVm(vm_id=VMS[number], spec=wishing(spec(f"vm-{number}"), *some))
            self.decide_together(self.rivals[0], [command])

    @rule(number=st.integers(0, RIVALS - 1), commands=st.lists(verbs(), min_size=1, max_size=4))
    def command(self, number: int, commands: list[VerbCommand]) -> None:
        self.decide_together(self.rivals[number], commands)

    @rule(number=st.integers(0, RIVALS - 1), heard=st.sets(st.sampled_from(HOSTS), min_size=1))
    def hears(self, number: int, heard: set[HostId]) -> None:
        """Each hears other hosts, so that they choose others."""
        self.rivals[number].heard = frozenset(heard)

    @rule(vms=st.permutations(VMS), hosts=st.permutations(HOSTS), one_host=st.booleans())
    def vms_are_started_at_once(self, vms: list[VmId], hosts: list[HostId], *, one_host: bool) -> None:
        """Each knows all until now; of what others store meanwhile it knows the hosts alone, or nothing."""
        for number in range(RIVALS):
            self.follow(number, len(self.log))
        for number, rival in enumerate(self.rivals):
            if one_host:
                self.refresh_after_a_conflict(number, set())
            once = RunOnce(host_id=hosts[0 if one_host else number])
            self.decide_together(rival, [StartVm(vm_id=vms[number], once=once)])

    @rule(number=st.integers(0, RIVALS - 1), most=st.integers(1, 20))
    def follow(self, number: int, most: int) -> None:
        rival = self.rivals[number]
        for subject, event in self.log[rival.position : rival.position + most]:
            rival.position += 1
            rival.world.fold(subjects.parse_event(subject), Seq(rival.position), event)

    @rule(number=st.integers(0, RIVALS - 1), vms=st.sets(st.sampled_from(VMS)))
    def refresh_after_a_conflict(self, number: int, vms: set[VmId]) -> None:
        """Hosts and VMs are read ahead of what is followed; groups are not."""
        for subject in (*map(subjects.host_ctl, HOSTS), *map(subjects.vm_ctl, sorted(vms))):
            seq = self.last.get(subject, 0)
            if seq:
                self.rivals[number].world.fold(subjects.parse_event(subject), Seq(seq), self.log[seq - 1][1])

    @rule(
        vm=st.sampled_from(VMS),
        kind=st.sampled_from([booting, stopped, start_failed]),
        number=st.integers(0, RIVALS - 1),
    )
    def host_says(self, vm: VmId, kind: type[VmFact], number: int) -> None:
        """Of the placement that there is; one of them meets it at once, and settles it."""
        known = self.ledger.vms.get(vm)
        if known is None or known.placement is None:
            return
        make: Any = kind
        fact = make(vm, known.placement.host_id, known.generation)
        self.store([(subjects.vm_fact(vm, known.placement.host_id), fact)])
        self.follow(number, len(self.log))
        rival = self.rivals[number]
        self.append(rival, [settle(self.scene(rival, vm))])

    @invariant()
    def the_books_are_right_and_no_rule_is_broken(self) -> None:
        self.ledger.check()

    def teardown(self) -> None:
        """Who has read all of it knows the same, however it was read."""
        fresh = World()
        for seq, (subject, event) in enumerate(self.log, 1):
            fresh.fold(subjects.parse_event(subject), Seq(seq), event)
        for number, rival in enumerate(self.rivals):
            self.follow(number, len(self.log))
            assert rival.world.vms == fresh.vms
            assert rival.world.joined == fresh.joined
            assert counts(rival.world) == counts(fresh)

    def decide_together(self, rival: Rival, commands: Sequence[Command]) -> None:
        """Decide each on what those before it will have left; where a guard does not hold take all back."""
        undo, decisions = [], list[Decision]()
        for command in commands:
            self.asked += 1
            decision = decide(command_id(self.asked), command, self.scene(rival, command.vm_id, command))
            decisions.append(decision)
            for change in decision.changes:
                subject = subjects.parse_event(change.subject)
                undo.append(rival.world.suppose(subject, change.event))
        if not self.append(rival, decisions):
            for take_back in reversed(undo):
                take_back()

    def append(self, rival: Rival, decisions: list[Decision]) -> bool:
        guards: dict[str, Seq] = {}
        for decision in decisions:
            guards = {**(decision.guards or {}), **guards}
        if any(self.last.get(subject, 0) != seq for subject, seq in guards.items()):
            return False
        changes = [(one.subject, one.event) for decision in decisions for one in decision.changes]
        assert {subject for subject, _ in changes if subject.endswith(".ctl")} <= guards.keys()
        first = len(self.log) + 1
        self.store(changes)
        for seq, (subject, event) in enumerate(changes, first):
            rival.world.fold(subjects.parse_event(subject), Seq(seq), event)
        return True

    def store(self, changes: list[tuple[str, Event]]) -> None:
        for subject, event in changes:
            self.log.append((subject, event))
            self.last[subject] = len(self.log)
            self.ledger.take(event)

    def scene(self, rival: Rival, vm: VmId, command: Command | None = None) -> Scene:
        known = rival.world.vms.get(vm, Known()).value
        name = known.spec.name if known else command.spec.name if isinstance(command, CreateVm) else "none"
        claim = subjects.parse_event(subjects.name_claim(name)).id
        return rival.world.scene(vm, claim, rival.world.fleet.mask(rival.heard))


def counts(world: World) -> list[tuple[int, list[int], list[int], list[int]] | None]:
    """Who of each group is where."""
    found = [world.groups.others(vm_id(99), apart(name)) for name in ("db", "web")]
    return [
        (one.total, one.here.tolist(), one.alone.tolist(), one.tied.tolist()) if one is not None else None
        for one in found
    ]


TestRivals = Rivals.TestCase
TestRivals.settings = settings(
    max_examples=80,
    stateful_step_count=40,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
