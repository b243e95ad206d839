"""So many have a turn at once, the highest priority first, and nobody who waits is forgotten."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from events.ids import VmId
from services.hostd.turns import Turns
from tests.support.builders import vm_id

A, B, C, D = (vm_id(number) for number in range(4))
MOST = 2
VMS = [vm_id(number) for number in range(6)]


def test_so_many_have_a_turn_and_the_next_waits_to_be_named() -> None:
    turns = Turns(2)
    assert turns.take(A, 50)
    assert turns.take(B, 50)
    assert not turns.take(C, 50)
    assert turns.leave(A) == (C,)
    assert turns.take(C, 50)
    assert not turns.take(A, 50)


def test_the_highest_priority_is_named_first_and_of_one_priority_the_first_who_came() -> None:
    turns = Turns(1)
    assert turns.take(A, 50)
    for vm, priority in ((B, 10), (C, 90), (D, 90)):
        assert not turns.take(vm, priority)
    for before, vm, priority in ((A, C, 90), (C, D, 90), (D, B, 10)):
        assert turns.leave(before) == (vm,)
        assert turns.take(vm, priority)


def test_nobody_takes_a_turn_that_belongs_to_one_of_higher_priority() -> None:
    turns = Turns(1)
    assert turns.take(A, 50)
    assert not turns.take(B, 90)
    turns.leave(A)
    assert not turns.take(C, 50)
    assert turns.take(B, 90)


def test_one_that_is_named_and_asks_for_less_leaves_no_turn_to_nobody() -> None:
    turns = Turns(1)
    assert turns.take(A, 50)
    assert not turns.take(B, 90)
    assert not turns.take(C, 50)
    assert turns.leave(A) == (B,)
    assert turns.take(B, 10)


def test_who_has_a_turn_keeps_it() -> None:
    turns = Turns(1)
    assert turns.take(A, 1)
    assert not turns.take(B, 99)
    assert turns.take(A, 1)


def test_who_waits_and_leaves_makes_way() -> None:
    turns = Turns(1)
    assert turns.take(A, 50)
    assert not turns.take(B, 90)
    assert not turns.take(C, 50)
    assert turns.leave(A) == (B,)
    assert turns.leave(B) == (C,)
    assert turns.take(C, 50)


def test_who_neither_has_a_turn_nor_waits_names_nobody() -> None:
    turns = Turns(1)
    assert turns.take(A, 50)
    assert not turns.take(B, 50)
    assert turns.leave(C) == ()


class Queue(RuleBasedStateMachine):
    """Whoever was named, and only they, ask again: exactly what the daemon does with a wake."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = Turns(MOST)
        self.has: set[VmId] = set()
        self.waits: dict[VmId, int] = {}
        self.woken: set[VmId] = set()

    @rule(vm=st.sampled_from(VMS), priority=st.integers(0, 2))
    def ask(self, vm: VmId, priority: int) -> None:
        if vm not in self.has:
            self.take(vm, priority)

    @precondition(lambda self: self.woken)
    @rule(data=st.data())
    def a_wake_arrives(self, data: st.DataObject) -> None:
        vm = data.draw(st.sampled_from(sorted(self.woken)))
        self.woken.discard(vm)
        if vm in self.waits:
            self.take(vm, self.waits[vm])

    @rule(vm=st.sampled_from(VMS))
    def leave(self, vm: VmId) -> None:
        """It has started, or shall not start any more."""
        self.has.discard(vm)
        self.waits.pop(vm, None)
        self.woken.update(self.turns.leave(vm))

    def take(self, vm: VmId, priority: int) -> None:
        its_own = self.waits.get(vm, priority)
        higher = [one for one, its in self.waits.items() if its > its_own]
        if self.turns.take(vm, priority):
            assert len(higher) < MOST - len(self.has), "passed one of higher priority"
            self.has.add(vm)
            self.waits.pop(vm, None)
        else:
            self.waits.setdefault(vm, priority)

    @invariant()
    def no_more_than_that(self) -> None:
        assert len(self.has) <= MOST

    @invariant()
    def a_free_turn_is_somebodys_who_will_ask(self) -> None:
        """No wake is lost: where a turn is free and someone waits, someone who gets it is on their way."""
        free = MOST - len(self.has)
        first = sorted(self.waits.values(), reverse=True)[:free]
        lowest = min(first, default=0)
        on_their_way = [vm for vm in self.woken if vm in self.waits and self.waits[vm] >= lowest]
        assert not first or on_their_way, (self.has, self.waits, self.woken)


TestQueue = Queue.TestCase
TestQueue.settings = settings(max_examples=300, stateful_step_count=40, deadline=None, database=None)


@settings(max_examples=200, deadline=None, database=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.integers(1, 4), st.randoms())
def test_all_who_ask_have_their_turn_in_the_end(priorities: list[int], most: int, random: Random) -> None:
    turns, order = Turns(most), list[VmId]()
    vms = [vm_id(number) for number in range(len(priorities))]
    has = [vm for vm, priority in zip(vms, priorities, strict=True) if turns.take(vm, priority)]
    while has:
        vm = has.pop(random.randrange(len(has)))
        order.append(vm)
        has += [one for one in turns.leave(vm) if turns.take(one, priorities[vms.index(one)])]
    assert sorted(order) == sorted(vms)
