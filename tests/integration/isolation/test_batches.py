"""Decisions are atomic batches, and a host may open some: it cannot take the room for them."""

from events import subjects
from events.ids import Seq
from infra.deploy.accounts import BATCH_IDLE_S
from infra.eventlog.jetstream import APPEND_PATIENCE_S
from infra.runtime.ids import random_id
from tests.integration.isolation.siege import Siege
from tests.support.builders import VM, a_write, running

OPENED = 200
"""Four times what a server with its own values keeps open on a stream."""


async def test_batches_without_end_hold_up_no_decision(siege: Siege) -> None:
    before = await siege.fleet.events.last_seq()
    for _ in range(OPENED):
        headers = {"Nats_Batch_Id": str(random_id()), "Nats_Batch_Sequence": "1"}
        await siege.intruder.says(siege.fact, siege.body(), **headers)
    await siege.settled()
    decision = [a_write(subjects.vm_ctl(VM), running()), a_write(subjects.host_desired(siege.own), running())]
    last = await siege.fleet.events.append(decision, {subjects.vm_ctl(VM): Seq(0)})
    assert last == before + 3, (
        "the batches that were not ended are stored nowhere; a sign of life and these are"
    )


async def test_a_batch_that_stands_still_is_given_up_before_a_decision_is() -> None:
    assert BATCH_IDLE_S * 2 < APPEND_PATIENCE_S


async def test_one_batch_writes_on_no_subject_of_others(siege: Siege) -> None:
    before, batch = await siege.begun(), str(random_id())
    foreign = (subjects.vm_ctl(VM), subjects.host_desired(siege.victim))
    for number, subject in enumerate((siege.fact, *foreign), 1):
        headers = {"Nats_Batch_Id": batch, "Nats_Batch_Sequence": str(number)}
        await siege.intruder.says(subject, siege.body(), **headers)
    end = {"Nats_Batch_Id": batch, "Nats_Batch_Sequence": "4", "Nats_Batch_Commit": "1"}
    await siege.intruder.says(siege.fact, siege.body(), **end)
    await siege.settled()
    assert siege.heard_on(foreign) == set()
    assert await siege.state() == before
