"""A connection that cannot be made leaves nothing behind."""

import asyncio

import pytest

from infra.eventlog.connection import connect
from infra.runtime.errors import Unavailable
from tests.support.stack import NatsServer


async def test_a_server_that_does_not_answer_is_hung_up_on(nats_server: NatsServer) -> None:
    hung_up, told = asyncio.Event(), list[str]()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        hung_up.set()
        writer.close()

    seed = next(nats_server.keys.glob("*.nk"))
    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(Unavailable):
            await connect(f"nats://127.0.0.1:{port}", seed, "test", told.append)
        async with asyncio.timeout(5):
            await hung_up.wait()
    assert not told, "what was never there cannot be lost"
