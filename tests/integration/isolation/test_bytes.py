"""The server takes almost any bytes for a subject, a reply and a header: no reader chokes on them."""

import pytest

from events import subjects
from events.commands import CreateVm
from events.ids import Seq
from infra.eventlog.signals import NatsSignals
from infra.readmodel.engine import make_engine
from infra.readmodel.postgres import PostgresReadModel
from tests.integration.isolation.siege import Siege
from tests.support.builders import VM, a_write, command_id, running, spec, vm_id
from tests.support.eventually import eventually
from tests.support.fleet import WAIT_S, Fleet
from tests.support.process import running_service

SUBJECTS = {
    "not UTF-8": b"\xff\xfe",
    "half a letter": b"\xc3",
    "NUL": b"a\0b",
    "a wildcard": b"*",
    "the other wildcard": b"a>",
    "very long": b"x" * 3900,
    "a line of the protocol": b"-ERR",
    "control characters": b"\x1b[2J\x7f\x08",
    "a lone surrogate": b"\xed\xa0\x80",
}
HEADERS = {
    "no first line": b"X",
    "half a first line": b"NATS/1.0",
    "nothing after it": b"NATS/1.0\r\n",
    "a status that is none": b"NATS/1.0 \xff\xfe\xfd\r\n\r\n",
    "a status and a reason": b"NATS/1.0 503 \xff\r\n\r\n",
    "no colon": b"NATS/1.0\r\n\xff\xfe\r\nnothing\r\n\r\n",
    "an id that is none": b"NATS/1.0\r\nNats-Msg-Id: \xff\xfe\r\n\r\n",
}


def line(subject: bytes, body: bytes, headers: bytes = b"", reply: bytes = b"") -> bytes:
    """Write one publish as it goes over the wire."""
    where = b" ".join(part for part in (subject, reply) if part)
    if not headers:
        return b"PUB %b %d\r\n%b\r\n" % (where, len(body), body)
    return b"HPUB %b %d %d\r\n%b%b\r\n" % (where, len(headers), len(headers) + len(body), headers, body)


def attacks(siege: Siege) -> list[bytes]:
    """Each of them, on what the intruder may write."""
    own, body, beat = str(siege.own).encode(), siege.body(), subjects.heartbeat(siege.own).encode()
    fact = siege.fact.encode()
    return [
        *(line(b"evt.vm.%b.%b" % (odd, own), body) for odd in SUBJECTS.values()),
        *(line(fact, body, odd) for odd in HEADERS.values()),
        *(line(fact, body, reply=odd) for odd in SUBJECTS.values()),
        *(line(beat, b"x", odd) for odd in HEADERS.values()),
        *(line(beat, b"x", reply=odd) for odd in SUBJECTS.values()),
    ]


async def test_a_follower_reads_every_message_and_goes_on(siege: Siege) -> None:
    log = siege.fleet.events
    await siege.intruder.writes(*attacks(siege))
    await siege.settled()
    end = await log.append([a_write(subjects.vm_ctl(VM), running())], {subjects.vm_ctl(VM): Seq(0)})
    assert end >= len(SUBJECTS)
    follower, found = log.follow(Seq(0), [subjects.EVT_ALL]), list[int]()
    while not found or found[-1] < end:
        taken = await follower.next(100, 5.0)
        assert taken, f"nothing comes after {found[-1:]}"
        assert all("\0" not in one.subject for one in taken), "no table can hold it"
        found += [one.seq for one in taken]
    await follower.close()
    assert found == list(range(1, end + 1))
    assert len(await log.last_per_subject("evt.vm.*.*")) > len(SUBJECTS) // 2


async def test_who_listens_to_heartbeats_hears_the_others_after_it(siege: Siege) -> None:
    heard: list[str] = []
    await NatsSignals(siege.fleet.client).listen(
        subjects.HEARTBEATS, lambda subject, _: heard.append(subject)
    )
    await siege.fleet.client.flush()
    await siege.intruder.writes(*attacks(siege))
    await siege.other.says(subjects.heartbeat(siege.victim))
    await eventually(lambda: subjects.heartbeat(siege.victim) in heard, "the other host's heartbeat", 10)


@pytest.mark.parametrize("when", ["before", "while"])
async def test_scheduler_and_projector_come_past_them(siege: Siege, postgres_dsn: str, when: str) -> None:
    fleet = siege.fleet
    settings = fleet.settings("projector") | {"ROOST_POSTGRES_DSN": postgres_dsn}
    said = fleet.state / "projector.log"
    if when == "before":
        await siege.intruder.writes(*attacks(siege))
        await siege.settled()
    async with fleet.scheduler(), running_service("services.projector.main", settings=settings, said=said):
        if when == "while":
            await created(fleet, 1, postgres_dsn)
            await siege.intruder.writes(*attacks(siege))
            await siege.settled()
        await created(fleet, 2, postgres_dsn)


async def created(fleet: Fleet, number: int, dsn: str) -> None:
    """Ask for a VM, and wait until its row is there: decided, stored, folded."""
    vm, command = vm_id(number), command_id(number)
    subject = subjects.command(vm, command)
    write = a_write(
        subject, CreateVm(vm_id=vm, spec=spec(f"vm-{number}")), event_id=command, operation=command
    )
    await fleet.commands.append([write], {subject: Seq(0)})
    engine = make_engine(dsn, "test")

    async def there() -> bool:
        return await PostgresReadModel(engine).vm(vm) is not None

    try:
        await eventually(there, f"the row of vm-{number}", WAIT_S)
    finally:
        await engine.dispose()
