"""VMs that lose their host are packed onto the others, if they can be."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.core.fallback import NODES_MAX, Item, Room, fallbacks
from tests.unit.scheduler.packs import Size, packs

sizes = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), max_size=6)
rooms = st.lists(st.tuples(st.integers(-1, 8), st.integers(-1, 8)), min_size=1, max_size=4)


def room(*hosts: Size) -> Room:
    return np.array(hosts, np.int64).T


def found(items: list[Size], hosts: list[Size], each: int = 1) -> list[tuple[int, ...]] | None:
    return fallbacks([Item(*size) for size in items], room(*hosts), each)


@given(sizes, rooms)
def test_one_host_each_is_found_if_and_only_if_there_is_one(items: list[Size], hosts: list[Size]) -> None:
    rows = found(items, hosts)
    assert (rows is not None) == packs(items, hosts)
    if rows is not None:
        left = room(*hosts)
        for size, (row,) in zip(items, rows, strict=True):
            left[:, row] -= size
        assert all((left[:, row] >= 0).all() for (row,) in rows)


@given(sizes, rooms, st.integers(2, 3))
def test_several_hosts_each_are_different_and_have_room_for_all(
    items: list[Size], hosts: list[Size], each: int
) -> None:
    rows = found(items, hosts, each)
    if rows is None:
        return
    left = room(*hosts)
    for size, chosen in zip(items, rows, strict=True):
        assert len(set(chosen)) == each
        for row in chosen:
            left[:, row] -= size
    assert all((left[:, row] >= 0).all() for chosen in rows for row in chosen)


def test_sums_that_fit_are_not_enough() -> None:
    assert found([(3, 1), (3, 1), (3, 1)], [(5, 9), (4, 9)]) is None
    assert found([(3, 1), (3, 1), (2, 1)], [(5, 9), (4, 9)]) is not None


def test_what_the_roomiest_host_first_misses_is_found() -> None:
    # The 4 goes to the 6, which the 3s need whole.
    assert found([(4, 1), (3, 1), (3, 1)], [(6, 9), (4, 9)]) == [(1,), (0,), (0,)]


def test_hosts_that_wishes_leave_out_are_left_out() -> None:
    only = np.array([False, True])
    items = [Item(2, 1, only), Item(2, 1)]
    assert fallbacks(items, room((9, 9), (2, 9)), 1) == [(1,), (0,)]
    assert fallbacks([Item(2, 1, only), Item(2, 1, only)], room((9, 9), (2, 9)), 1) is None


def test_equal_hosts_are_tried_once_unless_wishes_tell_them_apart() -> None:
    only = np.array([False, False, True])
    items = [Item(3, 1), Item(2, 1, only), Item(2, 1), Item(2, 1)]
    rows = fallbacks(items, room((4, 9), (3, 9), (2, 9)), 1)
    assert rows == [(1,), (2,), (0,), (0,)]


def test_a_search_that_would_not_end_gives_up() -> None:
    # Odd sizes never fill even room to the last vCPU; that no way does is found by trying them all.
    hosts = [(10, 99)] * 14
    assert NODES_MAX < 10**5
    assert found([(3, 1)] * 43, hosts) is None
