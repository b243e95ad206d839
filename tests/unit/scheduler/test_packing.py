"""What a placement wastes, and what is kept of it from one decision to the next."""

from collections import Counter
from random import Random

import numpy as np
import pytest

from services.scheduler.core.packing import WHOLE, Free, Mix, Shape, bucket, cost, devices_for, mix_of, worth
from services.scheduler.core.ranks import Ranks

SMALL, LARGE, FAT = Shape(1, 1792), Shape(8, 14336), Shape(8, 57344)
MIX = mix_of({SMALL: 256, LARGE: 64, FAT: 16}, 48, 131072)
HALF, WHOLE_GPU = Shape(4, 8192, 1, WHOLE // 2), Shape(4, 8192, 1, WHOLE)
GPU_MIX = mix_of({HALF: 64, WHOLE_GPU: 64}, 64, 262144)


def free(*hosts: tuple[int, int], devices: list[list[int]] | None = None) -> Free:
    vcpus, memory = np.array(hosts, np.float32).T
    return Free(vcpus, memory, np.array(devices, np.int32) if devices is not None else None)


def cheapest(shape: Shape, hosts: Free, mix: Mix = MIX) -> int:
    return int(cost(hosts, shape, mix).argmin())


def test_the_worth_of_one_host_is_what_the_hand_computes() -> None:
    mix = mix_of({Shape(2, 1000): 4}, 10, 5000)
    # 5 vCPUs and 2200 MiB: room for 2. Memory is there for 4.4 vCPUs.
    stranded = (5 - 4.4) / 10 * 0.9
    whole_vms = 2 * (2.0 * 2 / 10 + 0.3 * 1000 / 5000)
    one_more = 2.0 * 5 / 10 + 0.5 * 2200 / 5000
    assert worth(free((5, 2200)), mix)[0] == pytest.approx(whole_vms + one_more - stranded)


def test_without_a_mix_the_fullest_host_is_best() -> None:
    assert cheapest(SMALL, free((8, 16384), (4, 8192)), mix_of({}, 48, 131072)) == 1


def test_room_for_a_large_vm_is_not_broken_for_a_small_one() -> None:
    assert cheapest(SMALL, free((8, 30000), (9, 30000))) == 1


def test_memory_goes_where_vcpus_are_not_left_without() -> None:
    assert cheapest(FAT, free((40, 58000), (16, 80000))) == 1


def test_a_device_is_shared_before_a_whole_one_is_broken() -> None:
    hosts = free((32, 65536), (32, 65536), devices=[[1000, 0], [500, 0]])
    assert cheapest(HALF, hosts, GPU_MIX) == 1
    assert devices_for(free((32, 65536), devices=[[1000, 500]]), 0, HALF, GPU_MIX).tolist() == [1000, 0]


def test_who_wants_two_devices_gets_two() -> None:
    two = Shape(4, 8192, 2, WHOLE)
    assert devices_for(free((32, 65536), devices=[[1000, 1000, 1000]]), 0, two, GPU_MIX).tolist() == [
        0,
        0,
        1000,
    ]


def test_vms_without_memory_or_vcpus_divide_by_nothing() -> None:
    mix = mix_of({Shape(0, 1024): 4, Shape(1, 0): 4}, 8, 4096)
    assert np.isfinite(worth(free((4, 2048), (0, 0)), mix)).all()


def test_a_host_with_less_than_nothing_free_has_no_room() -> None:
    hosts = Free(np.array([-2, 0], np.int32), np.array([-512, 0], np.int32))
    assert worth(hosts, MIX)[0] <= worth(hosts, MIX)[1] == 0


@pytest.mark.parametrize(
    ("number", "rounded"), [(0, 0), (3, 0), (4, 4), (7, 4), (8, 8), (63, 32), (64, 64), (1000, 512)]
)
def test_numbers_of_the_mix_are_rounded_down_to_powers_of_two(number: int, rounded: int) -> None:
    assert bucket(number) == rounded


def test_what_is_kept_is_what_would_be_computed_anew() -> None:
    chance = Random(7)  # noqa: S311 - a walk that is the same each time
    kept, hosts = Ranks(), free(*[(48, 131072)] * 20)
    whole = free(*[(48, 131072)] * 20)
    for _ in range(400):
        shape, row = chance.choice([SMALL, LARGE, FAT]), chance.randrange(20)
        if hosts.vcpus[row] >= shape.vcpus and hosts.memory_mib[row] >= shape.memory_mib:
            hosts.vcpus[row] -= shape.vcpus
            hosts.memory_mib[row] -= shape.memory_mib
            kept.changed(row)
            kept.count(shape, 1)
        anew = Ranks(Counter(kept.placed)).cost(hosts, lambda: whole, shape)
        np.testing.assert_allclose(kept.cost(hosts, lambda: whole, shape), anew, atol=1e-5)


def test_who_has_gone_leaves_no_trace() -> None:
    ranks = Ranks()
    ranks.count(LARGE, 5)
    ranks.count(SMALL, 4)
    ranks.count(SMALL, -4)
    assert ranks.placed == {LARGE: 5}
    assert ranks.mix(lambda: free((48, 131072))).shapes == (LARGE,)
