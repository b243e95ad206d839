"""Three nodes: what a killed or frozen leader, a lost majority and rivals do to appends and to facts."""

import asyncio

import pytest
from nats.aio.client import Client

from events.ids import Seq
from infra.eventlog.connection import closer
from infra.eventlog.facts import JetStreamFactLog
from infra.eventlog.jetstream import ApiError, JetStreamLog, request
from infra.eventlog.port import Conflict, Write
from infra.runtime.errors import Unavailable
from infra.runtime.ids import random_id
from tests.support.eventually import eventually
from tests.support.leaders import Blow, closing, live_through
from tests.support.nats_cluster import NatsCluster
from tests.support.stack import HOSTS
from tests.support.trouble import Making, Try
from tests.support.writers import insist, whole_log

SEED = 1
RACERS = 32
IN_FLIGHT_ID, IN_FLIGHT_GUARD = 10158, 10164
A, B = "evt.vm.a.ctl", "evt.vm.b.ctl"
FACT = f"evt.vm.a.{HOSTS[0]}"


def write(subject: str) -> Write:
    return Write(subject, random_id(), b"{}")


# nats-py drops the stream of a connection that breaks during the handshake without closing it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_leaders_die_and_freeze_under_load_and_everybody_was_told_the_truth(
    nats_cluster: NatsCluster,
) -> None:
    await live_through(nats_cluster, [Blow.KILL, Blow.FREEZE, Blow.KILL], SEED)


async def test_without_a_majority_nothing_is_promised_and_with_one_it_is_made_good(
    nats_cluster: NatsCluster,
) -> None:
    async with closing(await nats_cluster.form()) as client:
        host = f"host-{HOSTS[0]}"
        log = JetStreamLog(client, "EVT", random_id)
        for name in ("n1", "n2"):
            nats_cluster.kill(name)
        one, batch, fact = write("evt.vm.c.ctl"), [write(A), write(B)], write(FACT)
        own = await nats_cluster.client(host)
        tries = [
            Try(lambda: log.append([one], {one.subject: Seq(0)}), [one]),
            Try(lambda: log.append(batch, {A: Seq(0), B: Seq(0)}), batch),
            Try(lambda: JetStreamFactLog(own).publish(fact, None), [fact]),
        ]
        assert all(isinstance(heard, Unavailable) for heard in await Making(tries).all)
        for name in ("n1", "n2"):
            nats_cluster.start(name)
        for each in tries:
            await insist(each.call)
        found = [stored.event_id for stored in await whole_log(log)]
        assert sorted(map(str, found)) == sorted(str(w.event_id) for each in tries for w in each.writes)
        await closer(own)()


async def test_of_rivals_one_wins_and_a_write_that_races_itself_is_one_write(
    nats_cluster: NatsCluster,
) -> None:
    async with closing(await nats_cluster.form()) as client:
        await race_until_heard(client, IN_FLIGHT_GUARD, "evt.vm.guard.ctl", same_id=False)
        await race_until_heard(client, IN_FLIGHT_ID, "evt.vm.id.ctl", same_id=True)
        log = JetStreamLog(client, "EVT", random_id)
        rivals = [
            Try(lambda ours=ours: log.append(ours, {A: Seq(0), B: Seq(0)}), ours)  # type: ignore[misc]
            for ours in ([write(A), write(B)] for _ in range(RACERS))
        ]
        heard = await Making(rivals).all
        assert [type(one) for one in heard].count(Conflict) == len(rivals) - 1
        (won,) = [one for one in heard if isinstance(one, int)]
        again = write(A)
        itself = [Try(lambda: log.append([again], {A: Seq(won - 1)}), [again])] * RACERS
        assert len(set(await Making(itself).all)) == 1
        found = await whole_log(log)
        assert [one.subject for one in found if one.subject in {A, B}] == [A, B, A]


async def race_until_heard(client: Client, code: int, subject: str, *, same_id: bool) -> None:
    """Race plain requests until the server answers *code*: what the appends below are to get by with."""
    heard: set[int] = set()

    async def one(event_id: str, last: int) -> None:
        guard = {"Nats-Msg-Id": event_id, "Nats-Expected-Last-Subject-Sequence": str(last)}
        try:
            await request(client, subject, b"{}", guard)
        except ApiError as err:
            heard.add(err.code)

    async def raced() -> bool:
        last = await JetStreamLog(client, "EVT", random_id).load(subject)
        ids = [str(random_id())] * RACERS if same_id else [str(random_id()) for _ in range(RACERS)]
        seq = last.seq if last else 0
        await asyncio.gather(*(one(event_id, seq) for event_id in ids))
        return code in heard

    await eventually(raced, f"an answer {code}")
