"""What was acknowledged survives a power cut, and with the server's default it would not.

How a power cut is made: the server's store is an ext4 of its own. `EXT4_IOC_SHUTDOWN` with NOLOGFLUSH, which
file system developers use for this, forbids that file system every further write at one instant: neither
dirty pages nor the journal's open transaction reach the disk. What is on the disk then is what it had been
given before, as at a power cut; the next mount replays the journal. So there is no copy that takes time
while the kernel writes on. Acknowledgements count that were heard before that instant.

What it does not show: a disk that loses what it was given but not yet told to flush. Such a loss is kept
from us by the flush in each fsync, for which we trust ext4's barriers and the disk.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from uuid import UUID

from nats.aio.client import Client

from events.ids import Seq
from infra.deploy.identities import seed_file
from infra.deploy.streams import ensure_streams, streams
from infra.eventlog.connection import connect
from infra.eventlog.jetstream import JetStreamLog
from infra.eventlog.port import Write
from infra.runtime.errors import Unavailable
from infra.runtime.ids import random_id
from tests.support.eventually import eventually
from tests.support.power import Machine

ROOM = 32 * 1024 * 1024
WRITERS = 8
BATCH = 3
BODY = b"x" * 400
INSTANTS = (60, 200, 450)
"""Acknowledged appends after which the power goes, one life after the other."""
READ_WITHIN_S = 5.0


class Load:
    """Writers of single events and of batches; *acked* is what the log said is stored, id to sequence."""

    def __init__(self, log: JetStreamLog, life: int) -> None:
        self._log = log
        self._life = life
        self.acked: dict[UUID, Seq] = {}
        self.batches: list[list[Write]] = []
        self.appends = 0

    async def run(self) -> None:
        await asyncio.gather(*(self._write(f"evt.vm.{self._life}-{number}.ctl") for number in range(WRITERS)))

    async def _write(self, subject: str) -> None:
        last = Seq(0)
        while True:
            batch = [Write(subject, random_id(), BODY) for _ in range(BATCH if last % 2 else 1)]
            self.batches.append(batch)
            last = await self._log.append(batch, {subject: last})
            self.appends += 1
            for index, write in enumerate(reversed(batch)):
                self.acked[write.event_id] = Seq(last - index)


@contextmanager
def machine(*, synced: bool) -> Iterator[Machine]:
    made = Machine(Path(tempfile.mkdtemp(prefix="roost-test-")), synced=synced)
    try:
        yield made
    finally:
        made.stop()


@asynccontextmanager
async def connected(to: Machine) -> AsyncIterator[Client]:
    """Connect, with the streams there."""
    client = await connect(to.url, seed_file(to.keys, "bootstrap"), "bootstrap", lambda _: None)

    async def made() -> bool:
        try:
            await ensure_streams(client, streams(ROOM, ROOM, 1))
        except Unavailable:
            return False  # JetStream is still reading what the disk has.
        return True

    try:
        await eventually(made, "the streams")
        yield client
    finally:
        await client.close()


async def a_life_under_load(on: Machine, life: int, appends: int) -> Load:
    """Boot, write, and lose power when so many appends were acknowledged; give what was said till then."""
    on.boot()
    async with connected(on) as client:
        # What the default is to lose are events, not the streams that were just made.
        on.sync()
        load = Load(JetStreamLog(client, "EVT", random_id), life)
        running = asyncio.gather(load.run())
        await eventually(lambda: running.done() or load.appends >= appends, f"{appends} appends")
        assert not running.done(), running.exception()
        on.lose_power()
        running.cancel()  # in the same turn of the loop: nothing is noted any more
        await asyncio.wait([running])
    return load


async def what_is_there(on: Machine) -> Mapping[UUID, Seq]:
    on.boot()
    async with connected(on) as client:
        log = JetStreamLog(client, "EVT", random_id)
        last, found = await log.last_seq(), dict[UUID, Seq]()
        follower = log.follow(Seq(0), ["evt.>"])
        while follower.position < last:
            for one in await follower.next(1000, READ_WITHIN_S):
                assert one.event_id is not None
                assert found.setdefault(one.event_id, one.seq) == one.seq, "stored twice"
        await follower.close()
    return found


async def test_no_acknowledged_event_is_lost_when_the_power_goes() -> None:
    for life, appends in enumerate(INSTANTS):
        with machine(synced=True) as on:
            load = await a_life_under_load(on, life, appends)
            found = await what_is_there(on)
            assert {event_id: found.get(event_id) for event_id in load.acked} == load.acked
            for batch in load.batches:
                there = sum(write.event_id in found for write in batch)
                assert there in {0, len(batch)}, "a part of a batch"


async def test_with_the_servers_default_acknowledged_events_are_lost() -> None:
    lost = []
    for life, appends in enumerate(INSTANTS):
        with machine(synced=False) as on:
            load = await a_life_under_load(on, life, appends)
            found = await what_is_there(on)
            lost.append(len(load.acked.keys() - found.keys()))
    assert any(lost), "this machine's power cut costs nothing, so the test above shows nothing"
