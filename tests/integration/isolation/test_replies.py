"""The server answers to wherever `reply` says, with its own rights: no host can make a pen of that.

Within one account it could: the answer to a publish, or a pulled message, would be written there.
"""

import pytest
from nats.aio.msg import Msg

from events import subjects
from tests.integration.isolation.siege import STREAMS, Siege, calling
from tests.support.builders import VM, an_entry, command_id

WAYS = ("fact", "pull", "acknowledgement", "next", "heartbeat")


def targets(siege: Siege) -> tuple[str, ...]:
    """Where an answer would do harm."""
    other = siege.victim
    return (
        subjects.vm_ctl(VM),
        subjects.vm_fact(VM, other),
        subjects.host_ctl(siege.own),
        subjects.host_desired(other),
        subjects.host_fact(other),
        subjects.name_claim("web"),
        subjects.command(VM, command_id(1)),
        subjects.heartbeat(other),
        subjects.ended(command_id(1)),
        subjects.dead("EVT"),
        f"{subjects.LIVE}{subjects.vm_ctl(VM)}",
        "$JS.API.STREAM.PURGE.EVT",
        "$JS.API.STREAM.DELETE.CMD",
        "$JS.API.STREAM.DELETE.DEAD",
        f"$JS.API.CONSUMER.DELETE.EVT.{subjects.desired_consumer(other)}",
        f"$JS.API.CONSUMER.MSG.NEXT.EVT.{subjects.desired_consumer(other)}",
        f"$JS.ACK.EVT.{subjects.desired_consumer(other)}.1.1.1.1.0",
        "$SYS.REQ.SERVER.PING",
        "_INBOX_scheduler.guessed",
        "_INBOX_api.guessed",
    )


@pytest.mark.parametrize("way", WAYS)
async def test_an_answer_goes_nowhere_but_to_its_own_inbox(siege: Siege, way: str) -> None:
    tried = targets(siege)
    # One for itself to acknowledge; one for each pull that is answered elsewhere.
    for generation in range(1, len(tried) + 2):
        await siege.fleet.desire(an_entry(generation=generation))
    delivered = await pulled(siege)
    await siege.begun()
    stored = {stream: await siege.stored(stream) for stream in STREAMS}
    services = [await siege.witness.hears(f"_INBOX_{name}.>") for name in ("scheduler", "api")]
    for target in tried:
        await say(siege, way, target, delivered)
    await siege.settled()
    assert [message.subject for heard in services for message in heard] == []
    assert siege.heard_on(tried) == set()
    assert {stream: await siege.stored(stream) for stream in STREAMS} == stored


async def say(siege: Siege, way: str, target: str, delivered: Msg) -> None:
    own = subjects.desired_consumer(siege.own)
    match way:
        case "fact":
            await siege.intruder.says(siege.fact, siege.body(), reply=target)
        case "pull":
            pull = f"$JS.API.CONSUMER.MSG.NEXT.EVT.{own}"
            await siege.intruder.says(pull, b'{"batch": 1, "no_wait": true}', reply=target)
        case "acknowledgement":
            await siege.intruder.says(delivered.reply, b"+ACK", reply=target)
        case "next":
            await siege.intruder.says(delivered.reply, b"+NXT", reply=target)
        case _:
            await siege.intruder.says(subjects.heartbeat(siege.own), b"", reply=target)


async def pulled(siege: Siege) -> Msg:
    """Give the intruder one message that was desired of it."""
    client = siege.intruder.client
    inbox = await client.subscribe(client.new_inbox())
    pull = f"$JS.API.CONSUMER.MSG.NEXT.EVT.{subjects.desired_consumer(siege.own)}"
    await client.publish(pull, b'{"batch": 1}', reply=inbox.subject)
    return await inbox.next_msg(10)


async def test_the_inbox_of_another_cannot_be_guessed(siege: Siege) -> None:
    """Hosts share an account: who knew another's inbox could have an answer of the server sent to it.

    So its name is drawn anew for each connection: 22 letters of 62, the first twelve from the system's
    random source (71 bits).
    """
    names = [(await fresh_inbox(siege)).removeprefix(f"_INBOX_{siege.other.name}.") for _ in range(3)]
    assert [len(name) for name in names] == [22] * 3
    assert len({name[:12] for name in names}) == 3


async def fresh_inbox(siege: Siege) -> str:
    async with calling(siege.fleet, siege.other.name) as caller:
        return caller.client.new_inbox()
