"""A host speaks on its own subjects, hears its own inbox, and that is all."""

from events import subjects
from events.ids import Seq
from infra.eventlog.facts import JetStreamFactLog
from infra.leases.jetstream import JetStreamLeases
from infra.runtime.ids import random_id
from tests.integration.isolation.siege import Siege, calling
from tests.support.builders import VM, a_write, an_entry, command_id, report, running


def foreign(siege: Siege) -> tuple[str, ...]:
    """Every subject of the language that is another's to write."""
    own, other = siege.own, siege.victim
    words = (
        subjects.vm_ctl(VM),
        subjects.vm_fact(VM, other),
        subjects.host_ctl(own),
        subjects.host_ctl(other),
        subjects.host_desired(own),
        subjects.host_desired(other),
        subjects.host_fact(other),
        subjects.name_claim("web"),
        subjects.command(VM, command_id(1)),
        subjects.heartbeat(other),
        subjects.statistics(other),
        subjects.ended(command_id(1)),
        *(subjects.dead(stream) for stream in ("EVT", "CMD")),
    )
    return (
        *words,
        *(f"{subjects.LIVE}{word}" for word in words),
        # Near misses of what it may write.
        f"evt.host.{other}.{own}",
        f"evt.claim.{own}.{own}",
        f"evt.vm.{VM}.{own}.more",
        f"evt.vm.{own}",
        f"hb.{own}.more",
        f"stat.{own}.more",
        f"lease.host.{other}",
        subjects.service_lease("scheduler"),
        f"$KV.any.{own}",
    )


async def test_a_host_publishes_facts_on_its_own_subjects(siege: Siege) -> None:
    own, facts = siege.own, JetStreamFactLog(siege.intruder.client)
    first = await facts.publish(a_write(subjects.vm_fact(VM, own), running(host=own)), None)
    assert await facts.publish(a_write(subjects.host_fact(own), report(own)), Seq(0)) == first + 1
    assert siege.intruder.refused == []


async def test_what_a_host_tells_of_itself_is_heard_by_the_api_and_stored_nowhere(siege: Siege) -> None:
    before = await siege.begun()
    told = (subjects.heartbeat(siege.own), subjects.statistics(siege.own))
    async with calling(siege.fleet, "api") as api:
        heard = [await api.hears(pattern) for pattern in (subjects.HEARTBEATS, subjects.STATISTICS)]
        for subject in told:
            await siege.intruder.says(subject)
        await siege.settled()
        await api.flushed()
        assert [message.subject for some in heard for message in some] == list(told)
        assert api.refused == siege.intruder.refused == []
    assert await siege.state() == before


async def test_it_is_refused_every_other_subject(siege: Siege) -> None:
    before, tried = await siege.begun(), foreign(siege)
    for subject in tried:
        await siege.intruder.says(subject, siege.body())
    await siege.intruder.flushed()
    assert siege.intruder.refused == [subject.lower() for subject in tried]
    await siege.settled()
    assert siege.heard_on(tried) == set()
    assert await siege.state() == before


async def test_it_hears_nobody_else(siege: Siege) -> None:
    """Listening is refused; and it hears nothing where the server were to say no and mean yes."""
    other = siege.victim
    patterns = (
        *(">", "*", "*.>", "evt.>", "evt.vm.>", "cmd.>", "dead.*", "ended.*", "live.>", "hb.*", "stat.*"),
        *("$JS.>", "$JS.API.>", "$JS.ACK.>", "$JS.FC.>", "$JS.EVENT.>", "$SYS.>", "_R_.>", "lease.>"),
        *("_INBOX.>", "_INBOX_scheduler.>", "_INBOX_api.>", "_INBOX_projector.>", "_INBOX_bootstrap.>"),
        *(
            f"_INBOX_host-{other}.>",
            "_INBOX_host.>",
            subjects.host_desired(siege.own),
            subjects.heartbeat(other),
            subjects.statistics(other),
        ),
    )
    heard = [await siege.intruder.hears(pattern) for pattern in patterns]
    heard += [await siege.intruder.hears(pattern, queue="thieves") for pattern in patterns]
    await siege.fleet.desire(an_entry())
    await siege.other.says(subjects.heartbeat(other), b"alive")
    await siege.other.says(subjects.statistics(other), b"busy")
    await siege.other.client.request(subjects.vm_fact(VM, other), siege.body())
    for inbox in (f"_INBOX_host-{other}.x", "_INBOX_scheduler.x"):
        await siege.witness.says(inbox, b"secret")
    await siege.settled()
    assert [message.subject for some in heard for message in some] == []
    assert set(siege.intruder.refused) == {pattern.lower() for pattern in patterns}


async def test_a_lease_of_a_service_is_that_services_own(siege: Siege) -> None:
    lease, before = subjects.service_lease("scheduler"), await siege.state()
    for name in ("api", "projector", "auditor"):
        async with calling(siege.fleet, name) as other:
            await other.says(lease)
            await other.flushed()
            assert other.refused == [lease]
    assert await siege.state() == before
    async with calling(siege.fleet, "scheduler") as scheduler:
        await JetStreamLeases(scheduler.client, random_id).say(a_write(lease, running()), Seq(0))
        for near in (subjects.service_lease("ha"), f"lease.host.{siege.own}", f"{lease}.more"):
            await scheduler.says(near)
        await scheduler.flushed()
        assert len(scheduler.refused) == 3
    assert await siege.stored("LEASE") == {lease: 1}
