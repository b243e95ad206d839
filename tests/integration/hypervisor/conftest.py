"""One lab for each file of tests on the real hypervisor."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from infra.lab.guest import build_guest
from infra.lab.lab import Lab
from tests.integration.hypervisor.world import BRIDGE, RealWorld, in_host, real_world
from tests.integration.lab.tiny import GUEST_CACHE


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an images folder with the tiny guest in it."""
    return build_guest(out=tmp_path_factory.mktemp("guest"), cache=GUEST_CACHE).parent


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab(images: Path) -> AsyncIterator[Lab]:
    """Start a lab with one host and one bridge."""
    async with await Lab.start(images=images, hosts=1) as lab:
        await in_host(lab, "ip", "link", "add", BRIDGE, "type", "bridge")
        yield lab


@pytest_asyncio.fixture(loop_scope="module")
async def world(lab: Lab, images: Path, tmp_path: Path) -> AsyncIterator[RealWorld]:
    """Connect an adapter to the lab's host."""
    async with real_world(lab, images, tmp_path / "disks") as made:
        yield made
