"""A host says what it is when that changes; what changes all the time must change by something."""

import pytest

from events.machine import ForeignDomain, HugePages, MachineFacts, Storage
from services.hostd.core.machine import steadied


def facts(free: int, total: int = 1000, pages: int = 100) -> MachineFacts:
    return MachineFacts(
        storages=(Storage(name="default", path="x", total_mib=total, free_mib=free, writable=True),),
        hugepages=(HugePages(size_kib=2048, total=1000, free=pages),),
    )


@pytest.mark.parametrize("now", [951, 1000, 999])
def test_a_little_more_or_less_room_is_no_change(now: int) -> None:
    assert steadied(facts(1000), facts(now)) == facts(1000)


@pytest.mark.parametrize(("said", "now"), [(1000, 950), (100, 150), (10, 4), (500, 0)])
def test_a_twentieth_of_the_whole_or_half_of_the_rest_is_one(said: int, now: int) -> None:
    assert steadied(facts(said), facts(now)) == facts(now)


def test_a_slow_drift_is_measured_from_what_was_said() -> None:
    said = facts(1000)
    for free in range(999, 951, -1):
        said = steadied(said, facts(free))
        assert said == facts(1000)
    assert steadied(said, facts(950)) == facts(950)


def test_huge_pages_are_steadied_by_size_alike() -> None:
    assert steadied(facts(0, pages=100), facts(0, pages=120)) == facts(0, pages=100)
    assert steadied(facts(0, pages=100), facts(0, pages=160)) == facts(0, pages=160)


def test_everything_else_is_said_at_once() -> None:
    foreign = ForeignDomain(uuid="u", name="n", state="running")
    now = facts(1000).model_copy(update={"networks": ("br0",), "foreign": (foreign,), "foreign_total": 1})
    assert steadied(facts(1000), now) == now
    read_only = facts(1000).storages[0].model_copy(update={"writable": False, "free_mib": 999})
    found = steadied(facts(1000), MachineFacts(storages=(read_only,)))
    assert (found.storages[0].writable, found.storages[0].free_mib) == (False, 1000)


def test_a_folder_that_is_new_is_shown_as_it_is() -> None:
    assert steadied(MachineFacts(), facts(7)) == facts(7)
