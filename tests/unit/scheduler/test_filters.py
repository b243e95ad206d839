"""Which hosts can take a VM, and what is said of the others."""

import numpy as np
import pytest

from events.ids import HostId, Seq
from events.machine import MachineFacts, Storage
from events.spec import Disk, Nic, VmSpec
from services.scheduler.core.filters import Candidates, candidates
from services.scheduler.core.fleet import COLUMNS_MAX, Fleet
from services.scheduler.core.request import Request
from tests.support.builders import HOST, OTHER_HOST, a_host, report, spec

NICS = spec().model_copy(update={"nics": (Nic(network="br1"), Nic(network="br0"))})
DISKS = spec().model_copy(update={"disks": (Disk(name="data", size_mib=64, storage="fast"),)})


def a_fleet(machine: MachineFacts | None = None) -> Fleet:
    """Two hosts, of which the first has said what it is made of."""
    fleet = Fleet()
    for host in (HOST, OTHER_HOST):
        fleet.put(a_host(host), Seq(1))
    fleet.report(report().model_copy(update={"machine": machine}))
    return fleet


def ask(fleet: Fleet, wanted: VmSpec, **asked: frozenset[HostId] | frozenset[str] | HostId) -> Candidates:
    request = Request(spec=wanted, needs=wanted.needs, **asked)  # type: ignore[arg-type]
    return candidates(fleet, request, np.ones(len(fleet), np.bool_))


@pytest.mark.parametrize(
    ("wanted", "machine", "code", "needs", "has"),
    [
        (NICS, MachineFacts(networks=("br0",)), "network", "br0, br1", "br0"),
        (
            DISKS,
            MachineFacts(
                storages=(Storage(name="fast", path="/f"), Storage(name="default", path="/d", writable=True))
            ),
            "storage",
            "fast",
            "writable: default",
        ),
        (spec(memory_mib=8192), None, "memory", "8304 MiB", "4096 MiB free of 4096"),
        (spec(vcpus=9), None, "vcpus", "9 vCPUs", "8 vCPUs free of 8"),
    ],
)
def test_a_host_that_lacks_something_is_refused_with_the_numbers(
    wanted: VmSpec, machine: MachineFacts | None, code: str, needs: str, has: str
) -> None:
    fleet = a_fleet(machine)
    (refusal, *_) = ask(fleet, wanted).refusals(fleet, 10)
    assert (refusal.host, refusal.filter, refusal.needs, refusal.has) == ("rack-1", code, needs, has)


@pytest.mark.parametrize("wanted", [NICS, DISKS])
def test_of_a_host_that_has_not_said_what_it_has_nothing_is_missed(wanted: VmSpec) -> None:
    assert ask(a_fleet(), wanted).fits.all()


def test_a_host_whose_storages_are_all_broken_has_said_what_it_has() -> None:
    broken = Storage(name="fast", path="/f", writable=True, problem="no answer in time")
    assert ask(a_fleet(MachineFacts(storages=(broken,))), DISKS).fits.tolist() == [False, True]


def test_a_storage_is_asked_only_for_disks_that_are_to_be_made() -> None:
    fleet = a_fleet(MachineFacts(storages=(Storage(name="default", path="/d", writable=True),)))
    assert ask(fleet, DISKS, made_disks=frozenset({"data"})).fits.all()


def test_what_a_host_says_anew_is_taken_in() -> None:
    fleet = a_fleet(MachineFacts(networks=("br0",)))
    assert ask(fleet, NICS).fits.tolist() == [False, True]
    fleet.report(report().model_copy(update={"machine": MachineFacts(networks=("br0", "br1"))}))
    assert ask(fleet, NICS).fits.all()


def test_a_host_that_failed_to_start_it_is_not_asked_again() -> None:
    fleet = a_fleet()
    found = ask(fleet, spec(), tried=frozenset({HOST}))
    assert found.fits.tolist() == [False, True]
    assert dict(found.refused) == {"tried": 1}


def test_only_the_one_that_was_named_is_considered() -> None:
    found = ask(a_fleet(), spec(), only=OTHER_HOST)
    assert (found.considered.tolist(), found.fits.tolist()) == ([False, True], [False, True])


def test_each_host_is_counted_by_the_first_that_refuses_it_and_shown_by_name_up_to_a_most() -> None:
    fleet = a_fleet(MachineFacts(networks=("br0",)))
    found = ask(fleet, NICS.model_copy(update={"memory_mib": 8192}))
    assert dict(found.refused) == {"network": 1, "memory": 1}
    assert [one.host for one in found.refusals(fleet, 1)] == ["rack-1"]


def test_what_just_fits_fits() -> None:
    fleet, wanted = Fleet(), spec()
    fleet.put(a_host(vcpus=2, memory_mib=wanted.needs.memory_mib), Seq(1))
    assert ask(fleet, wanted).fits.tolist() == [True]


def test_rows_are_in_order_of_ids_whatever_came_first() -> None:
    fleet = Fleet()
    for host in (OTHER_HOST, HOST):
        fleet.put(a_host(host), Seq(1))
    assert [view.host.host_id for view in fleet] == [HOST, OTHER_HOST]


def test_a_fleet_as_it_will_be_leaves_the_one_that_is_alone() -> None:
    fleet = a_fleet()
    after = fleet.with_host(a_host(vms=2))
    assert (fleet.free_vcpus.tolist(), after.free_vcpus.tolist()) == ([8, 8], [4, 8])
    assert (fleet.guests.tolist(), after.guests.tolist()) == ([0, 0], [2, 0])


def test_columns_of_ever_new_names_do_not_pile_up() -> None:
    fleet = a_fleet()
    for number in range(COLUMNS_MAX + 5):
        wanted = spec().model_copy(update={"nics": (Nic(network=f"br{number}"),)})
        assert ask(fleet, wanted).fits.all()
    assert len(fleet._columns) <= COLUMNS_MAX
