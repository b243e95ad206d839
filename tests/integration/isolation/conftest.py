from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.isolation.siege import Siege, a_siege
from tests.support.fleet import a_fleet
from tests.support.stack import NatsServer


@pytest.fixture
async def siege(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[Siege]:
    async with a_fleet(nats_server, tmp_path, 2) as fleet, a_siege(fleet) as siege:
        yield siege
