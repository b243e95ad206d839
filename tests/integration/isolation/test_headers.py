"""A header is the writer's to choose: none gives a host more than its own subjects."""

from uuid import UUID

import pytest

from events import subjects
from events.ids import Seq
from infra.eventlog.facts import JetStreamFactLog
from infra.eventlog.port import Conflict
from tests.integration.isolation.siege import Siege
from tests.support.builders import VM, a_write, an_entry, command_id, running

NAMED = {
    "wipes the stream": {"Nats_Rollup": "all"},
    "wipes the subject": {"Nats_Rollup": "sub"},
    "makes it vanish": {"Nats_TTL": "1s"},
    "writes elsewhere later": {
        "Nats_Schedule": "@at 2020-01-01T00:00:00Z",
        "Nats_Schedule_Target": subjects.vm_ctl(VM),
    },
    "writes elsewhere again and again": {
        "Nats_Schedule": "@every 1s",
        "Nats_Schedule_Target": subjects.vm_ctl(VM),
        "Nats_Schedule_Source": subjects.vm_ctl(VM),
        "Nats_Schedule_TTL": "1s",
        "Nats_Schedule_Rollup": "all",
    },
    "counts": {"Nats_Incr": "+1"},
    "traces elsewhere": {"Nats_Trace_Dest": subjects.vm_ctl(VM)},
    "only traces elsewhere": {"Nats_Trace_Dest": "cmd.vm.x.y", "Nats_Trace_Only": "true"},
    "expects of another's subject": {
        "Nats_Expected_Last_Subject_Sequence": "0",
        "Nats_Expected_Last_Subject_Sequence_Subject": subjects.vm_ctl(VM),
    },
    "expects of the stream": {"Nats_Expected_Last_Sequence": "1", "Nats_Expected_Stream": "CMD"},
    "is a tombstone": {"Nats_Marker_Reason": "Purge", "KV_Operation": "PURGE"},
    "claims to be a source's": {"Nats_Stream_Source": "EVT 1 > > evt.>", "Nats_Stream_Identity": "EVT"},
    "claims another place": {
        "Nats_Subject": subjects.vm_ctl(VM),
        "Nats_Stream": "EVT",
        "Nats_Sequence": "1",
        "Nats_Last_Sequence": "0",
    },
    "claims to be an end": {"Status": "503", "Description": "Consumer Deleted"},
    "claims to be a control message": {"Status": "100", "Nats_Consumer_Stalled": "cmd.vm.x.y"},
    "claims another caller": {"Nats_Request_Info": '{"acc":"ORCH"}', "Nats_Response_Type": "chunked"},
    "is pinned": {"Nats_Pin_Id": "x", "Nats_Required_Api_Level": "99"},
}


@pytest.mark.parametrize("what", NAMED)
async def test_a_header_changes_nothing_of_anybody_elses(siege: Siege, what: str) -> None:
    log = siege.fleet.events
    await siege.fleet.desire(an_entry())
    await log.append([a_write(subjects.vm_ctl(VM), running())], {subjects.vm_ctl(VM): Seq(0)})
    before, first = await siege.begun(), await log.last_seq()
    for subject in (siege.fact, subjects.heartbeat(siege.own)):
        await siege.intruder.says(subject, siege.body(), **NAMED[what])
    await siege.settled()
    assert siege.heard_on([subjects.vm_ctl(VM), f"live.{subjects.vm_ctl(VM)}", "cmd.vm.x.y"]) == set()
    # What others say is stored after it, and a reader comes past it.
    guards = {subjects.vm_ctl(VM): Seq(2)}
    last = await log.append([a_write(subjects.vm_ctl(VM), running())], guards)
    assert await sequences(siege, Seq(0)) == list(range(1, last + 1))
    assert last > first
    after = dict(await siege.state())
    config, counts = after["EVT"]
    after["EVT"] = (config, counts | {subjects.vm_ctl(VM): counts[subjects.vm_ctl(VM)] - 1})
    assert after == before


async def sequences(siege: Siege, after: Seq) -> list[int]:
    """Read the log from *after* to its end."""
    end, follower = await siege.fleet.events.last_seq(), siege.fleet.events.follow(after, [subjects.EVT_ALL])
    found: list[int] = []
    while not found or found[-1] < end:
        taken = await follower.next(100, 5.0)
        assert taken, f"nothing comes after {found[-1:]}"
        found += [one.seq for one in taken]
    await follower.close()
    return found


async def test_an_id_that_it_took_first_holds_nobody_up(siege: Siege) -> None:
    """The server drops a message whose id it has seen: what a host can know of others' ids is used up."""
    await siege.fleet.desire(an_entry())
    told = (await siege.fleet.events.load(subjects.host_desired(siege.own))) or pytest.fail("not there")
    known = (VM, siege.own, siege.victim, command_id(1), told.event_id)
    for one in known:
        await siege.intruder.says(siege.fact, siege.body(), Nats_Msg_Id=str(one))
    await siege.settled()
    # Nothing of others is named by these: what they say next is stored.
    facts, of_other = JetStreamFactLog(siege.other.client), subjects.vm_fact(VM, siege.victim)
    fact = a_write(of_other, running(host=siege.victim))
    seq = await facts.publish(fact, Seq(0))
    stored = await siege.fleet.events.load(of_other)
    assert stored is not None
    assert (stored.seq, stored.event_id) == (seq, fact.event_id)
    decision = [a_write(subjects.vm_ctl(VM), running()), a_write(subjects.host_desired(siege.own), running())]
    await siege.fleet.events.append(decision, {subjects.vm_ctl(VM): Seq(0)})


async def test_were_an_id_guessed_the_decision_would_be_taken_again(siege: Siege) -> None:
    log, guards = siege.fleet.events, {subjects.vm_ctl(VM): Seq(0)}
    stolen = a_write(subjects.vm_ctl(VM), running())
    await siege.intruder.says(siege.fact, siege.body(), Nats_Msg_Id=str(stolen.event_id))
    await siege.settled()
    with pytest.raises(Conflict):
        await log.append([stolen], guards)
    with pytest.raises(Conflict):
        await log.append([stolen, a_write(subjects.host_desired(siege.own), running())], guards)
    assert await log.load(subjects.vm_ctl(VM)) is None
    await log.append([a_write(subjects.vm_ctl(VM), running())], guards)


async def test_what_the_daemons_say_has_ids_that_nobody_can_know(siege: Siege) -> None:
    async with siege.fleet.hostd():
        await siege.fleet.desire(an_entry())
        await siege.fleet.facts(f"evt.vm.*.{siege.own}", lambda said: len(said) >= 2)
    follower = siege.fleet.events.follow(Seq(0), [subjects.EVT_ALL])
    ids = {one.event_id for one in await follower.next(100, 5.0)}
    await follower.close()
    assert len(ids) > 2
    assert {event_id.version for event_id in ids if isinstance(event_id, UUID)} == {4}
