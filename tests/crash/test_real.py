"""A sample of all crash points with real QEMU; `make soak PART=crash` walks through the rest."""

import pytest

from tests.crash.real import a_real_world, sampled
from tests.support.seeds import a_seed

LIVES = 2
"""Each dies in up to eleven flows, and takes a minute or more on an emulated guest."""


@pytest.mark.drives_processes
@pytest.mark.timeout(900)
async def test_a_sample_on_real_qemu() -> None:
    seed = a_seed("tests/crash/test_real.py")
    died = 0
    async with a_real_world(print) as walks:
        for service, deaths in await sampled(walks, seed, LIVES):
            died += sum(map(len, (await walks[service].die(deaths)).values()))
    assert died > 0
