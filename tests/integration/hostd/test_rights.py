"""What a host's own credentials let it do: speak for itself, and nothing else."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError

from events import subjects
from events.ids import Seq
from infra.deploy.accounts import COMMAND_CONSUMER
from infra.deploy.identities import seed_file
from infra.eventlog.connection import closer, connect
from infra.eventlog.facts import JetStreamFactLog
from tests.support.builders import VM, a_write, an_entry, report, running
from tests.support.fleet import Fleet, a_fleet
from tests.support.stack import NatsServer

ANSWER_S = 0.3


@pytest.fixture
async def fleet(nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with a_fleet(nats_server, tmp_path, 2) as fleet:
        yield fleet


@pytest.fixture
async def host(fleet: Fleet) -> AsyncIterator[Client]:
    """The first host's own connection."""
    name = f"host-{fleet.hosts[0]}"
    client = await connect(fleet.nats.url, seed_file(fleet.nats.keys, name), name, lambda _: None)
    yield client
    await closer(client)()


async def answered(client: Client, subject: str, body: bytes = b"{}") -> bool:
    """Tell whether anybody answers a request."""
    try:
        answer = await client.request(subject, body, timeout=ANSWER_S)
    except (NatsError, TimeoutError):
        return False
    return "error" not in json.loads(answer.data or b"{}")


async def test_a_host_publishes_facts_on_its_own_subjects(fleet: Fleet, host: Client) -> None:
    own, facts = fleet.hosts[0], JetStreamFactLog(host)
    first = await facts.publish(a_write(subjects.vm_fact(VM, own), running(host=own)), None)
    assert await facts.publish(a_write(subjects.host_fact(own), report(own)), Seq(0)) == first + 1


async def test_it_stores_nothing_on_any_other_subject(fleet: Fleet, host: Client) -> None:
    own, other = fleet.hosts
    before = await fleet.events.last_seq()
    foreign = (
        subjects.vm_fact(VM, other),
        subjects.vm_ctl(VM),
        subjects.host_ctl(own),
        subjects.host_ctl(other),
        subjects.host_desired(own),
        subjects.host_fact(other),
        subjects.name_claim("web"),
        f"cmd.vm.{VM}.{VM}",
        "dead.evt",
    )
    assert [subject for subject in foreign if await answered(host, subject)] == []
    assert await fleet.events.last_seq() == before
    assert await fleet.commands.last_seq() == 0


async def test_it_cannot_call_the_streams_api_or_use_anothers_consumer(fleet: Fleet, host: Client) -> None:
    own, other = (subjects.desired_consumer(one) for one in fleet.hosts)
    calls = (
        "$JS.API.INFO",
        "$JS.API.STREAM.INFO.EVT",
        "$JS.API.STREAM.MSG.GET.EVT",
        "$JS.API.STREAM.DELETE.EVT",
        "$JS.API.CONSUMER.CREATE.EVT.mine",
        f"$JS.API.CONSUMER.DELETE.EVT.{other}",
        f"$JS.API.CONSUMER.INFO.EVT.{own}",
        f"$JS.API.CONSUMER.MSG.NEXT.EVT.{other}",
        f"$JS.API.CONSUMER.MSG.NEXT.CMD.{COMMAND_CONSUMER}",
    )
    await fleet.desire(an_entry())
    assert [call for call in calls if await answered(host, call)] == []


async def test_it_cannot_make_the_server_write_where_it_may_not(fleet: Fleet, host: Client) -> None:
    """Within one account the answer to a publish, or a pulled message, goes wherever `reply` says."""
    own, other = fleet.hosts
    await fleet.desire(an_entry())
    before = await fleet.events.last_seq()
    fact = a_write(subjects.vm_fact(VM, own), running(host=own)).body
    targets = (subjects.vm_ctl(VM), subjects.host_desired(other), subjects.vm_fact(VM, other))
    for target in targets:
        await host.publish(subjects.vm_fact(VM, own), fact, reply=target)
        pull = f"$JS.API.CONSUMER.MSG.NEXT.EVT.{subjects.desired_consumer(own)}"
        await host.publish(pull, b'{"batch": 1, "no_wait": true}', reply=target)
    await host.flush()
    follower = fleet.events.follow(before, [subjects.EVT_ALL])
    found = list(await follower.next(100, 1.0))
    while more := await follower.next(100, ANSWER_S):
        found += more
    await follower.close()
    assert {one.subject for one in found} <= {subjects.vm_fact(VM, own)}


async def test_it_hears_no_other_inbox_and_no_live_events(fleet: Fleet, host: Client) -> None:
    heard: list[str] = []

    async def listen(message: object) -> None:
        heard.append(str(message))

    for pattern in ("live.>", f"_INBOX_host-{fleet.hosts[1]}.>", "_INBOX_scheduler.>", "hb.*", ">"):
        await host.subscribe(pattern, cb=listen)
    await host.flush()
    await fleet.desire(an_entry())
    await fleet.client.publish(f"_INBOX_host-{fleet.hosts[1]}.x", b"secret")
    await fleet.client.flush()
    await host.flush()
    await asyncio.sleep(0)
    assert heard == []
