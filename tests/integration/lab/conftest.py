"""Two real labs side by side, and the guest that runs on them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from infra.lab.guest import build_guest
from infra.lab.lab import Lab
from tests.integration.lab.tiny import GUEST_CACHE


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an images folder with the tiny guest in it."""
    return build_guest(out=tmp_path_factory.mktemp("state"), cache=GUEST_CACHE).parent


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def labs(images: Path) -> AsyncIterator[tuple[Lab, Lab]]:
    """Start two labs on the same machine, the first with two hosts, the second with one."""
    async with await Lab.start(images=images, hosts=2) as one, await Lab.start(images=images, hosts=1) as two:
        yield one, two
