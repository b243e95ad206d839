"""Writers under load that remember what each was told, for a look at the log afterwards."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from random import Random
from typing import TypeVar
from uuid import UUID

from events.ids import Seq
from infra.eventlog.port import Conflict, EventLog, FactLog, Recorded, Write
from infra.runtime.errors import Unavailable
from infra.runtime.ids import random_id
from tests.support.eventually import WITHIN_S, turns

WRITERS = 12
SUBJECTS = tuple(f"evt.vm.{number}.ctl" for number in range(8))
READ_WITHIN_S = 5.0
T = TypeVar("T")


class Writers:
    """Writers that contend for subjects with guards, hosts that publish facts, and what each was told."""

    def __init__(self, logs: Sequence[EventLog], facts: Mapping[str, FactLog]) -> None:
        self._logs = logs
        self._facts = facts
        self._stop = False
        self.acked: dict[Seq, Sequence[Write]] = {}
        self.refused: list[Sequence[Write]] = []
        self.unknown: list[Sequence[Write]] = []
        self.told: dict[str, list[UUID]] = {}
        """By subject, the facts whose publishing ended, in order."""

    async def run(self, seed: int) -> None:
        """Write until told to stop; the writers are spread over the logs."""
        writing = [
            self._contend(self._logs[number % len(self._logs)], Random(f"{seed}/{number}"))  # noqa: S311
            for number in range(WRITERS)
        ]
        await asyncio.gather(*writing, *(self._tell(*one) for one in self._facts.items()))

    def stop(self) -> None:
        """Let each end what it has begun."""
        self._stop = True

    def check(self, found: Sequence[Recorded]) -> None:
        """See that the log holds what each was told, and nothing else; *found* is the whole of it."""
        at = {one.event_id: one.seq for one in found}
        assert len(at) == len(found), "something is stored twice"
        for last, writes in self.acked.items():
            assert [at.get(write.event_id) for write in writes] == _piece(last, writes)
        for writes in self.refused:
            assert not any(write.event_id in at for write in writes), "a conflict was stored"
        for writes in self.unknown:
            seqs = [at.get(write.event_id) for write in writes]
            assert seqs == [None] * len(writes) or (seqs[-1] and seqs == _piece(seqs[-1], writes))
        known = [write.event_id for writes in self._all() for write in writes]
        assert at.keys() == (at.keys() & {*known, *(one for told in self.told.values() for one in told)})
        for subject, told in self.told.items():
            assert [one.event_id for one in found if one.subject == subject] == told
        self._check_guards(found)

    def _check_guards(self, found: Sequence[Recorded]) -> None:
        """See that each append followed what its guards said."""
        firsts = {
            (write.event_id, write.subject)
            for writes in self._all()
            for write in {write.subject: write for write in reversed(writes)}.values()
        }
        last: dict[str, Seq] = {}
        for one in found:
            if one.event_id is not None and (one.event_id, one.subject) in firsts:
                assert json.loads(one.body)[one.subject] == last.get(one.subject, 0)
            last[one.subject] = one.seq

    def _all(self) -> Iterator[Sequence[Write]]:
        return chain(self.acked.values(), self.refused, self.unknown)

    async def _contend(self, log: EventLog, random: Random) -> None:
        while not self._stop:
            subjects = random.sample(SUBJECTS, random.choice((1, 2)))
            lasts = [await insist(partial(log.load, subject)) for subject in subjects]
            pairs = zip(subjects, lasts, strict=True)
            seen = {subject: last.seq if last else Seq(0) for subject, last in pairs}
            body = json.dumps(seen).encode()
            writes = [Write(subject, random_id(), body) for subject in (*subjects, *subjects[1:])]
            try:
                seq = await log.append(writes, seen)
            except Conflict:
                self.refused.append(writes)
            except Unavailable:
                self.unknown.append(writes)
            else:
                assert seq not in self.acked, "one sequence for two appends"
                self.acked[seq] = writes

    async def _tell(self, subject: str, log: FactLog) -> None:
        last: Seq | None = None
        told = self.told.setdefault(subject, [])
        while not self._stop:
            fact = Write(subject, random_id(), b"{}")
            last = await insist(partial(log.publish, fact, last))
            told.append(fact.event_id)


async def insist(call: Callable[[], Awaitable[T]]) -> T:
    """Call until it is not Unavailable."""
    deadline = asyncio.get_running_loop().time() + WITHIN_S
    while True:
        try:
            return await call()
        except Unavailable:
            if asyncio.get_running_loop().time() > deadline:
                raise
        await turns(1)


async def whole_log(log: EventLog) -> Sequence[Recorded]:
    """Read everything that is stored."""
    last, found = await insist(log.last_seq), list[Recorded]()
    follower = log.follow(Seq(0), ["evt.>"])
    while follower.position < last:
        found.extend(await insist(partial(follower.next, 1000, READ_WITHIN_S)))
    await follower.close()
    return found


def _piece(last: Seq, writes: Sequence[Write]) -> list[int]:
    return list(range(last - len(writes) + 1, last + 1))
