"""Any commands and any facts in any order: what must always hold holds after each step, and all ends."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from events import subjects
from events.commands import Command, CreateVm, DeleteVm, StartVm, StopVm
from events.events import Event
from events.facts import (
    StopCause,
    VmBooting,
    VmFact,
    VmRunning,
    VmStartFailed,
    VmStarting,
    VmStopped,
    VmStopping,
)
from events.ids import CommandId, Generation, HostId, Seq, VmId
from events.values import Desired, Resources
from services.scheduler.core.decide import decide
from services.scheduler.core.decision import NOTHING, Decision, Known, Scene
from services.scheduler.core.settle import enlist, settle
from services.scheduler.core.world import World
from sim.checkers.ledger import Ledger
from tests.support.builders import command_id, host_id, report, spec, vm_id

HOSTS = [host_id(1), host_id(2)]
VMS = [vm_id(number) for number in range(3)]
ROOM = Resources(vcpus=4, memory_mib=1024)  # of each host: two VMs
KINDS = (VmStarting, VmBooting, VmRunning, VmStopping, VmStopped, VmStartFailed)


class Fleet(RuleBasedStateMachine):
    """A log in memory, its world, its ledger, and hosts that say anything at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.world, self.ledger, self.seq = World(), Ledger(), 0
        self.asked: dict[CommandId, Command] = {}
        self.said: list[VmFact] = []

    @initialize()
    def hosts_join(self) -> None:
        for host in HOSTS:
            self.resize(host, ROOM)

    @rule(number=st.integers(0, 2), name=st.sampled_from(["web", "db", "mail"]))
    def create(self, number: int, name: str) -> None:
        # The id of a VM is made from its create command's: one command a VM.
        command = self.asked.get(command_id(number), CreateVm(vm_id=VMS[number], spec=spec(name)))
        self.ask(command_id(number), command)

    @rule(
        vm=st.sampled_from(VMS),
        make=st.sampled_from([StartVm, StopVm, DeleteVm]),
        silent=st.sets(st.sampled_from(HOSTS)),
    )
    def command(self, vm: VmId, make: type[StartVm | StopVm | DeleteVm], silent: set[HostId]) -> None:
        self.ask(command_id(100 + len(self.asked)), make(vm_id=vm), frozenset(silent))

    @rule(vm=st.sampled_from(VMS), grace_s=st.sampled_from([0.0, 5.0, 60.0]))
    def stop(self, vm: VmId, grace_s: float) -> None:
        self.ask(command_id(100 + len(self.asked)), StopVm(vm_id=vm, grace_s=grace_s))

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
    )
    def host_says(
        self,
        vm: VmId,
        elsewhere: HostId | None,
        kind: type[VmFact],
        ago: int,
        settled: bool,
    ) -> None:
        """Mostly the placed host, of the placement that it has; else any host, of any."""
        known = self.world.vms.get(vm, Known()).value
        placed = known.placement if known is not None else None
        host = elsewhere or (placed.host_id if placed is not None else HOSTS[0])
        generation = max(0, (known.generation if known is not None else 0) - ago)
        self.say(a_fact(kind, vm, host, Generation(generation)))
        if settled:
            self.settle(vm)

    @rule(
        vm=st.sampled_from(VMS),
        kind=st.sampled_from(KINDS),
        make=st.sampled_from([StartVm, StopVm, DeleteVm]),
    )
    def a_command_meets_a_fact(
        self, vm: VmId, kind: type[VmFact], make: type[StartVm | StopVm | DeleteVm]
    ) -> None:
        """The fact was heard, and nothing has followed from it yet."""
        self.host_says(vm, None, kind, 0, settled=False)
        self.command(vm, make, set())

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

    def teardown(self) -> None:
        """The hosts answer, and everything ends."""
        for vm in VMS:
            self.settle(vm)
            for _ in range(2):
                known = self.world.vms.get(vm, Known()).value
                if known is not None and known.placement is not None:
                    kind = VmStopped if known.desired is Desired.STOPPED else VmBooting
                    self.say(a_fact(kind, vm, known.placement.host_id, known.generation))
                    self.settle(vm)
        self.ledger.check()
        self.ledger.check_ended(self.asked)

    def ask(self, id_: CommandId, command: Command, silent: frozenset[HostId] = frozenset()) -> None:
        if not self.ledger.ends[id_]:
            self.asked[id_] = command
            self.store(decide(id_, command, self.scene(command.vm_id, command, silent)))

    def resize(self, host: HostId, capacity: Resources) -> None:
        self.store(enlist(report(host), self.world.hosts.get(host, Known()), capacity))

    def scene(
        self, vm: VmId, command: Command | None = None, silent: frozenset[HostId] = frozenset()
    ) -> Scene:
        known = self.world.vms.get(vm, Known()).value
        name = known.spec.name if known else command.spec.name if isinstance(command, CreateVm) else "none"
        claim = subjects.parse_event(subjects.name_claim(name)).id
        return self.world.scene(vm, claim, frozenset(HOSTS) - silent)

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


def a_fact(kind: type[VmFact], vm: VmId, host: HostId, generation: Generation) -> VmFact:
    told = {"vm_id": vm, "host_id": host, "generation": generation, "cause": StopCause.LOST, "message": "no"}
    return kind.model_validate(told)


TestFleet = Fleet.TestCase
TestFleet.settings = settings(
    max_examples=80,
    stateful_step_count=40,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
