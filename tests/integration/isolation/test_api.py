"""The API of JetStream and of the server is not for hosts, whatever of it there is."""

import re
from pathlib import Path

from events import subjects
from infra.deploy.accounts import COMMAND_CONSUMER
from infra.embedded.nats import nats_server
from tests.integration.isolation.siege import STREAMS, Siege
from tests.support.builders import an_entry

OF_NOTHING = (
    *("INFO", "STREAM.NAMES", "STREAM.LIST", "META.LEADER.STEPDOWN", "META.RESCUE"),
    *("SERVER.REMOVE", "SERVER.EVACUATE"),
)
OF_AN_ACCOUNT = ("ACCOUNT.PURGE", "ACCOUNT.STREAM.MOVE", "ACCOUNT.STREAM.CANCEL_MOVE")
OF_A_STREAM = (
    *("STREAM.CREATE", "STREAM.UPDATE", "STREAM.DELETE", "STREAM.PURGE", "STREAM.INFO"),
    *("STREAM.MSG.GET", "STREAM.MSG.DELETE", "STREAM.SNAPSHOT", "STREAM.RESTORE"),
    *("STREAM.PEER.REMOVE", "STREAM.PEER.EVACUATE", "STREAM.LEADER.STEPDOWN", "STREAM.CANCEL_MOVE"),
    *("CONSUMER.CREATE", "CONSUMER.NAMES", "CONSUMER.LIST", "DIRECT.GET"),
)
OF_A_CONSUMER = (
    *("CONSUMER.CREATE", "CONSUMER.DURABLE.CREATE", "CONSUMER.DELETE", "CONSUMER.INFO", "CONSUMER.MSG.NEXT"),
    *("CONSUMER.PAUSE", "CONSUMER.RESET", "CONSUMER.UNPIN", "CONSUMER.LEADER.STEPDOWN"),
    *("CONSUMER.PEER.REMOVE", "CONSUMER.PEER.EVACUATE"),
)
OF_THE_SERVER = (
    *("REQ.SERVER.PING", "REQ.SERVER.PING.CONNZ", "REQ.SERVER.PING.STATSZ", "REQ.USER.INFO"),
    *("REQ.ACCOUNT.ORCH.CONNZ", "REQ.ACCOUNT.ORCH.SUBSZ", "REQ.ACCOUNT.ORCH.JSZ", "REQ.ACCOUNT.PING.STATZ"),
    *("REQ.ACCOUNT.PING.CONNZ", "REQ.ACCOUNT.HOSTS.CLAIMS.UPDATE", "REQ.ACCOUNT.NSUBS", "DEBUG.SUBSCRIBERS"),
)


def test_the_lists_name_all_that_this_server_has() -> None:
    """A newer server with a new verb has to be looked at, not trusted."""
    # The words of the binary lie end to end: what follows a verb may belong to the next word.
    found = re.findall(rb"\$JS\.API\.([A-Z_]{3,}(?:\.[A-Z_]+)*)", Path(nats_server()).read_bytes())
    known = (*OF_NOTHING, *OF_AN_ACCOUNT, *OF_A_STREAM, *OF_A_CONSUMER)
    rooms = {verb.rpartition(".")[0] for verb in known} | {verb.split(".")[0] for verb in known}
    unknown = {
        verb.decode()
        for verb in found
        if not any(verb.decode().startswith(one) for one in known) and verb.decode() not in rooms
    }
    assert len(found) > len(known)
    assert unknown == set()


def calls(siege: Siege) -> tuple[str, ...]:
    """Every call, on everything there is, in every form; but the one pull that is its own."""
    own, other = (subjects.desired_consumer(host) for host in siege.fleet.hosts)
    consumers = (("EVT", own), ("EVT", other), ("CMD", COMMAND_CONSUMER), ("EVT", "new"))
    its_own = f"CONSUMER.MSG.NEXT.EVT.{own}"
    verbs = (
        *OF_NOTHING,
        *(f"{verb}.{what}" for verb in OF_AN_ACCOUNT for what in ("ORCH", "HOSTS", "ORCH.EVT")),
        *(f"{verb}.{stream}" for verb in OF_A_STREAM for stream in (*STREAMS, "NEW")),
        *(f"{verb}.{stream}.{name}" for verb in OF_A_CONSUMER for stream, name in consumers),
        *(f"CONSUMER.CREATE.{stream}.{name}.evt.>" for stream, name in consumers),
        *(f"DIRECT.GET.EVT.{subject}" for subject in (subjects.host_desired(siege.victim), "evt.>")),
        *(f"CONSUMER.MSG.NEXT.EVT.{own}.{more}" for more in ("more", "*", ">")),
    )
    acks = (
        *(f"$JS.ACK.EVT.{other}.1.1.1.1.0", f"$JS.ACK.CMD.{COMMAND_CONSUMER}.1.1.1.1.0"),
        f"$JS.ACK._.ORCH.EVT.{other}.1.1.1.1.0.x",
        *(f"$JS.FC.EVT.{other}.x.y", f"$JS.FC.EVT.{own}.x.y"),
    )
    hub = f"$JS.hub.API.CONSUMER.MSG.NEXT.EVT.{other}"
    of_the_server = (f"$SYS.{verb}" for verb in OF_THE_SERVER)
    return (*(f"$JS.API.{verb}" for verb in verbs if verb != its_own), *acks, hub, *of_the_server)


async def test_every_call_is_refused_and_changes_nothing(siege: Siege) -> None:
    await siege.fleet.desire(an_entry())
    before, tried = await siege.begun(), calls(siege)
    answers = await siege.intruder.hears(f"_INBOX_{siege.intruder.name}.answer")
    for call in tried:
        await siege.intruder.says(call, b"{}", reply=f"_INBOX_{siege.intruder.name}.answer")
    await siege.intruder.flushed()
    assert siege.intruder.refused == [call.lower() for call in tried]
    await siege.settled()
    assert answers == []
    assert siege.heard_on(tried) == set()
    assert await siege.state() == before
