"""Which of the hosts that can take a VM is best, by each policy."""

import numpy as np
import pytest

from events.host import Host
from events.ids import Seq
from services.scheduler.core.fleet import Fleet
from services.scheduler.core.weights import Policy, best
from tests.support.builders import HOST, OTHER_HOST, a_host, spec

NEEDS = spec().needs


def choose(policy: Policy, *hosts: Host) -> int | None:
    fleet = Fleet()
    for host in hosts:
        fleet.put(host, Seq(1))
    fits = (fleet.free_vcpus >= NEEDS.vcpus) & (fleet.free_memory >= NEEDS.memory_mib)
    return best(fleet, fits, NEEDS, policy)


def test_balanced_takes_the_freest_in_its_scarcer_dimension() -> None:
    much_memory = a_host(HOST, vcpus=3, memory_mib=65536)
    both = a_host(OTHER_HOST, vcpus=8, memory_mib=2048)
    assert choose(Policy.BALANCED, much_memory, both) == 1


def test_packed_takes_the_fullest() -> None:
    assert choose(Policy.PACKED, a_host(HOST, vms=1), a_host(OTHER_HOST, vms=2)) == 1


def test_packed_wakes_a_host_only_where_no_other_fits() -> None:
    assert choose(Policy.PACKED, a_host(HOST, vcpus=2, memory_mib=656), a_host(OTHER_HOST, vms=1)) == 1


def test_packed_leaves_no_memory_without_vcpus() -> None:
    lopsided = a_host(HOST, vcpus=3, memory_mib=4096)
    even = a_host(OTHER_HOST, vcpus=3, memory_mib=768)
    assert choose(Policy.PACKED, lopsided, even) == 1


def test_an_even_count_looks_at_vms_first() -> None:
    large = a_host(HOST, vcpus=64, memory_mib=65536, vms=2)
    assert choose(Policy.EVEN_COUNT, large, a_host(OTHER_HOST, vms=1)) == 1


@pytest.mark.parametrize("policy", Policy)
def test_of_equals_the_lower_id_is_chosen(policy: Policy) -> None:
    assert choose(policy, a_host(OTHER_HOST), a_host(HOST)) == 0


@pytest.mark.parametrize("policy", Policy)
def test_none_is_chosen_where_none_fits(policy: Policy) -> None:
    assert choose(policy, a_host(HOST, vcpus=1)) is None
    assert best(Fleet(), np.zeros(0, np.bool_), NEEDS, policy) is None
