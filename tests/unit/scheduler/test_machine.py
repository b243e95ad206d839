"""Any commands and any facts in any order: what must always hold holds after each step, and all ends."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from events import subjects
from events.commands import (
    Command,
    CreateVm,
    DeleteVm,
    PauseVm,
    PowerOffVm,
    RebootVm,
    ResetVm,
    ResumeVm,
    StartVm,
    StopVm,
    UpdateVm,
    VerbCommand,
)
from events.desired import DesiredVm, Done
from events.events import Event, VmDesired
from events.facts import (
    StopCause,
    VmActionDone,
    VmBooting,
    VmFact,
    VmNotResponding,
    VmPaused,
    VmResumed,
    VmRunning,
    VmStartFailed,
    VmStarting,
    VmStopped,
    VmStopping,
)
from events.ids import CommandId, Generation, HostId, Seq, VmId
from events.spec import RunOnce
from events.values import Desired, Resources, VmPhase
from events.vm import PENDING_MAX, Verb
from services.scheduler.core.decide import decide
from services.scheduler.core.decision import NOTHING, Decision, Known, Scene
from services.scheduler.core.settle import enlist, settle
from services.scheduler.core.world import World
from sim.checkers.ledger import Ledger
from tests.support.builders import command_id, host_id, report, spec, vm_id

HOSTS = [host_id(1), host_id(2)]
VMS = [vm_id(number) for number in range(3)]
ROOM = Resources(vcpus=4, memory_mib=1024)  # of each host: two VMs
KINDS: list[type[VmFact]] = [
    VmStarting,
    VmBooting,
    VmRunning,
    VmPaused,
    VmResumed,
    VmActionDone,
    VmNotResponding,
    VmStopping,
    VmStopped,
    VmStartFailed,
]
AT_LAST: dict[Desired, type[VmFact]] = {
    Desired.RUNNING: VmBooting,
    Desired.PAUSED: VmPaused,
    Desired.STOPPED: VmStopped,
}
ALIVE = [phase for phase in VmPhase if phase not in {VmPhase.STOPPED, VmPhase.DELETED}]
PATCHES: list[dict[str, object]] = [
    {"vcpus": 1},
    {"vcpus": 2},
    {"memory_mib": 256},
    {"memory_mib": 768},
    {"memory_mib": 4096},
    {"vcpus": 2, "memory_mib": 1024, "image": "other"},
    {"priority": 90},
    {"vcpus": 0},
    {"name": "other"},
]


@st.composite
def verbs(draw: st.DrawFn, vms: st.SearchStrategy[VmId]) -> VerbCommand:
    """Any command about a VM, of any kind."""
    vm, grace_s = draw(vms), draw(st.sampled_from([0.0, 5.0, 60.0]))
    verb: Verb = draw(st.sampled_from(Verb.__args__))  # type: ignore[attr-defined]
    match verb:
        case "start":
            host_id_ = draw(st.sampled_from([None, *HOSTS, host_id(9)]))
            once = draw(st.sampled_from([None, None, RunOnce(host_id=host_id_)]))
            return StartVm(vm_id=vm, paused=draw(st.booleans()), once=once)
        case "stop":
            return StopVm(vm_id=vm, grace_s=grace_s)
        case "power_off":
            return PowerOffVm(vm_id=vm)
        case "reboot":
            return RebootVm(vm_id=vm, grace_s=grace_s)
        case "reset":
            return ResetVm(vm_id=vm)
        case "pause":
            return PauseVm(vm_id=vm)
        case "resume":
            return ResumeVm(vm_id=vm)
        case "update":
            return UpdateVm(vm_id=vm, patch=draw(st.sampled_from(PATCHES)))
        case "delete":
            return DeleteVm(vm_id=vm, keep_disks=draw(st.booleans()))


class Fleet(RuleBasedStateMachine):
    """A log in memory, its world, its ledger, and hosts that say anything at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.world, self.ledger, self.seq = World(), Ledger(), 0
        self.asked: dict[CommandId, Command] = {}
        self.said: list[VmFact] = []
        self.entries: dict[tuple[HostId, VmId], DesiredVm] = {}

    @initialize()
    def hosts_join(self) -> None:
        for host in HOSTS:
            self.resize(host, ROOM)

    @rule(number=st.integers(0, 2), name=st.sampled_from(["web", "db", "mail"]))
    def create(self, number: int, name: str) -> None:
        # The id of a VM is made from its create command's: one command a VM.
        command = self.asked.get(command_id(number), CreateVm(vm_id=VMS[number], spec=spec(name)))
        self.ask(command_id(number), command)

    @rule(command=verbs(st.sampled_from(VMS)), silent=st.sets(st.sampled_from(HOSTS)))
    def command(self, command: VerbCommand, silent: set[HostId]) -> None:
        self.ask(command_id(100 + len(self.asked)), command, frozenset(silent))

    @rule(vm=st.sampled_from(VMS), commands=st.lists(verbs(st.just(VMS[0])), min_size=2, max_size=5))
    def a_vm_that_runs_is_asked_for_much(self, vm: VmId, commands: list[VerbCommand]) -> None:
        """Else most of what is asked would meet a VM that is stopped."""
        self.command(StartVm(vm_id=vm), set())
        self.host_says(vm, None, VmRunning, 0, settled=True, done=False, phase=VmPhase.RUNNING)
        for command in commands:
            self.command(command.model_copy(update={"vm_id": vm}), set())

    @rule(data=st.data())
    def command_comes_again(self, data: st.DataObject) -> None:
        """The shell drops what the log says has ended; what has not is decided again."""
        left = [one for one in sorted(self.asked) if not self.ledger.ends[one]]
        if left:
            self.ask(again := data.draw(st.sampled_from(left)), self.asked[again])

    @rule(
        vm=st.sampled_from(VMS),
        elsewhere=st.sampled_from([None, None, *HOSTS]),
        kind=st.sampled_from(KINDS),
        ago=st.sampled_from([0, 0, 0, 1, 2]),
        settled=st.booleans(),
        done=st.booleans(),
        phase=st.sampled_from([*ALIVE, *VmPhase]),
    )
    def host_says(
        self,
        vm: VmId,
        elsewhere: HostId | None,
        kind: type[VmFact],
        ago: int,
        *,
        settled: bool,
        done: bool,
        phase: VmPhase,
    ) -> None:
        """Mostly the placed host, of the placement that it has; else any host, of any; and of any phase."""
        known = self.world.vms.get(vm, Known()).value
        placed = known.placement if known is not None else None
        host = elsewhere or (placed.host_id if placed is not None else HOSTS[0])
        generation = max(0, (known.generation if known is not None else 0) - ago)
        actions = self.entries[host, vm].actions if done and (host, vm) in self.entries else ()
        told = tuple(
            Done(token=one.token, refused="no" if number % 2 else None) for number, one in enumerate(actions)
        )
        self.say(a_fact(kind, vm, host, Generation(generation), done=told, phase=phase))
        if settled:
            self.settle(vm)

    @rule(
        command=verbs(st.sampled_from(VMS)),
        kind=st.sampled_from(KINDS),
        done=st.booleans(),
        phase=st.sampled_from(VmPhase),
    )
    def a_command_meets_a_fact(
        self, command: VerbCommand, kind: type[VmFact], done: bool, phase: VmPhase
    ) -> None:
        """The fact was heard, and nothing has followed from it yet."""
        self.host_says(command.vm_id, None, kind, 0, settled=False, done=done, phase=phase)
        self.command(command, set())

    @rule(data=st.data())
    def host_repeats_itself(self, data: st.DataObject) -> None:
        if self.said:
            fact = data.draw(st.sampled_from(self.said))
            self.say(fact)
            self.settle(fact.vm_id)

    @rule(vm=st.sampled_from(VMS))
    def settle(self, vm: VmId) -> None:
        self.store(settle(self.scene(vm)))
        assert settle(self.scene(vm)) is NOTHING

    @rule(
        host=st.sampled_from(HOSTS), vcpus=st.integers(0, 8), memory_mib=st.sampled_from([0, 512, 1024, 4096])
    )
    def host_is_resized(self, host: HostId, vcpus: int, memory_mib: int) -> None:
        self.resize(host, Resources(vcpus=vcpus, memory_mib=memory_mib))

    @invariant()
    def the_books_are_right(self) -> None:
        self.ledger.check()

    @invariant()
    def what_is_not_pending_has_ended(self) -> None:
        pending = {one.command_id for vm in self.ledger.vms.values() for one in vm.pending}
        assert {one for one in self.asked if not self.ledger.ends[one]} == pending

    @invariant()
    def so_many_wait_and_no_more(self) -> None:
        for vm in self.ledger.vms.values():
            updates = sum(one.verb == "update" for one in vm.pending)
            assert updates <= PENDING_MAX
            assert len(vm.pending) - updates <= PENDING_MAX

    @invariant()
    def what_is_placed_nowhere_has_nothing_of_a_run(self) -> None:
        for vm in self.ledger.vms.values():
            if vm.placement is None:
                assert (vm.pending, vm.running, vm.reserved, vm.once) == ((), None, None, None)
            else:
                assert vm.placement.generation == vm.generation
                assert vm.running is not None
                assert vm.reserved is not None

    @invariant()
    def the_placed_host_was_told_what_is_desired(self) -> None:
        for vm in self.ledger.vms.values():
            if vm.placement is not None:
                told = self.entries[vm.placement.host_id, vm.vm_id]
                assert (told.generation, told.desired) == (vm.generation, vm.desired)
                assert (told.grace_s, told.once) == (vm.grace_s, vm.once)
                waiting = [one.command_id for one in vm.pending if not one.cold]
                assert [one.token for one in told.actions if one.token in waiting] == [
                    one for one in waiting if one in {action.token for action in told.actions}
                ]
                runs = told.spec.resources
                assert vm.reserved is not None
                assert (told.spec.vcpus, runs.memory_mib) <= (vm.reserved.vcpus, vm.reserved.memory_mib)

    def teardown(self) -> None:
        """The hosts answer, and everything ends: at most a stop, a new start, and what was asked of that."""
        for vm in VMS:
            self.settle(vm)
            for _ in range(3):
                known = self.world.vms.get(vm, Known()).value
                if known is not None and known.placement is not None:
                    host = known.placement.host_id
                    kind = AT_LAST[known.desired]
                    done = tuple(Done(token=one.token) for one in self.entries[host, vm].actions)
                    self.say(a_fact(kind, vm, host, known.generation, done=done))
                    self.settle(vm)
        self.ledger.check()
        self.ledger.check_ended(self.asked)

    def ask(self, id_: CommandId, command: Command, silent: frozenset[HostId] = frozenset()) -> None:
        if not self.ledger.ends[id_]:
            self.asked[id_] = command
            self.store(decide(id_, command, self.scene(command.vm_id, command, silent)))

    def resize(self, host: HostId, capacity: Resources) -> None:
        self.store(enlist(report(host), self.world.host(host), capacity))

    def scene(
        self, vm: VmId, command: Command | None = None, silent: frozenset[HostId] = frozenset()
    ) -> Scene:
        known = self.world.vms.get(vm, Known()).value
        name = known.spec.name if known else command.spec.name if isinstance(command, CreateVm) else "none"
        claim = subjects.parse_event(subjects.name_claim(name)).id
        return self.world.scene(vm, claim, ~self.world.fleet.mask(silent))

    def say(self, fact: VmFact) -> None:
        self.said.append(fact)
        self.fold(subjects.vm_fact(fact.vm_id, fact.host_id), fact)

    def store(self, decision: Decision) -> None:
        """Store a batch as the log does: every guard holds, and every ctl subject written is guarded."""
        guards = decision.guards or {}
        assert {one.subject for one in decision.changes if one.subject.endswith(".ctl")} <= guards.keys()
        for change in decision.changes:
            self.fold(change.subject, change.event)

    def fold(self, subject: str, event: Event) -> None:
        self.seq += 1
        self.world.fold(subjects.parse_event(subject), Seq(self.seq), event)
        self.ledger.take(event)
        if isinstance(event, VmDesired):
            host = HostId(subjects.parse_event(subject).uuid)
            before = self.entries.get((host, event.entry.vm_id))
            assert before is None or before.generation <= event.entry.generation, "an older word to a host"
            self.entries[host, event.entry.vm_id] = event.entry


def a_fact(
    kind: type[VmFact],
    vm: VmId,
    host: HostId,
    generation: Generation,
    *,
    done: tuple[Done, ...] = (),
    phase: VmPhase = VmPhase.RUNNING,
) -> VmFact:
    told: dict[str, object] = {"vm_id": vm, "host_id": host, "generation": generation, "done": done}
    told |= {"message": "no", "phase": phase, "call": "x", "token": command_id(1), "verb": "reset"}
    cause = "user" if kind is VmPaused else StopCause.LOST
    return kind.model_validate(told | {"cause": cause})


TestFleet = Fleet.TestCase
TestFleet.settings = settings(
    max_examples=80,
    stateful_step_count=40,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
