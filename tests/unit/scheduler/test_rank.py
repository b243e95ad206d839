"""Which host is chosen: filters first, then the one that is left the freest, then the lower id."""

from events.ids import Seq
from events.values import Resources
from services.scheduler.core.decision import HostView
from services.scheduler.core.rank import best, feasible
from tests.support.builders import HOST, OTHER_HOST, a_host

NEEDS = Resources(vcpus=2, memory_mib=512)


def view(number: int, **shape: int) -> HostView:
    return HostView(a_host(HOST if number == 1 else OTHER_HOST, **shape), Seq(1), alive=True)


def test_the_freest_in_its_scarcer_dimension_is_best() -> None:
    much_memory = view(1, vcpus=3, memory_mib=65536)
    balanced = view(2, vcpus=8, memory_mib=2048)
    assert best([much_memory, balanced], NEEDS) is balanced


def test_of_equals_the_lower_id_is_chosen_whatever_the_order() -> None:
    one, two = view(1), view(2)
    assert best([two, one], NEEDS) is best([one, two], NEEDS) is one


def test_what_just_fits_fits() -> None:
    fits, refusals = feasible([view(1, vcpus=2, memory_mib=512)], NEEDS)
    assert (len(fits), refusals) == (1, ())


def test_refusals_come_by_name() -> None:
    _, refusals = feasible([view(2, vcpus=1), view(1, vcpus=1)], NEEDS)
    assert [refusal.host for refusal in refusals] == ["rack-1", "rack-2"]
