"""One host against all others: what it tries, and what came of it."""

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from events import subjects
from events.ids import HostId
from infra.deploy.identities import seed_file
from infra.eventlog.jetstream import ask
from tests.support.builders import VM, a_write, running
from tests.support.fleet import Fleet

STREAMS = ("EVT", "CMD", "DEAD", "LEASE")
ANSWER_S = 10.0


@dataclass
class Caller:
    """A connection with an identity of the installation, and what the server refused it."""

    client: Client
    name: str
    refused: list[str]

    async def says(self, subject: str, body: bytes = b"{}", reply: str = "", **headers: str) -> None:
        """Publish; a header's underscores stand for dashes."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        await self.client.publish(subject, body, reply=reply, headers=named or None)

    async def writes(self, *lines: bytes) -> None:
        """Write onto the connection what the library would not."""
        transport = self.client._transport
        assert transport is not None
        for line in lines:
            transport.write(line)
        await self.flushed()

    async def flushed(self) -> None:
        """Wait until the server has read all that was said. One flush pings before what is pending."""
        for _ in range(2):
            await self.client.flush()

    async def hears(self, pattern: str, queue: str = "") -> list[Msg]:
        """Listen, alone or as one of a queue; give the list that fills."""
        heard: list[Msg] = []

        async def keep(message: Msg) -> None:
            heard.append(message)

        await self.client.subscribe(pattern, queue, cb=keep)
        await self.flushed()
        return heard


@dataclass
class Siege:
    """A fleet, one of whose hosts is hostile."""

    fleet: Fleet
    intruder: Caller
    other: Caller
    witness: Caller
    """In the control plane's account; may hear everything there."""
    heard: list[Msg] = field(default_factory=list)
    """All that was said in the control plane's account."""

    @property
    def own(self) -> HostId:
        return self.fleet.hosts[0]

    @property
    def victim(self) -> HostId:
        return self.fleet.hosts[1]

    @property
    def fact(self) -> str:
        """The one subject on which the intruder says most of what it says."""
        return subjects.vm_fact(VM, self.own)

    def body(self) -> bytes:
        """A fact that the intruder may publish there."""
        return a_write(self.fact, running(host=self.own)).body

    async def settled(self) -> None:
        """Wait until whatever the intruder said has had its effect.

        A stream takes messages in the order in which they come: once an own fact is acknowledged, all
        before it is done with. Who listens gets it before the answer to a later ping.
        """
        answer = await self.intruder.client.request(self.fact, self.body(), timeout=ANSWER_S)
        assert "error" not in json.loads(answer.data)
        for caller in (self.intruder, self.other, self.witness):
            await caller.flushed()

    async def stored(self, stream: str = "EVT") -> Mapping[str, int]:
        """Count the messages on each subject of *stream*, but for the intruder's own fact."""
        info = await ask(self.fleet.client, f"$JS.API.STREAM.INFO.{stream}", {"subjects_filter": ">"})
        counts: dict[str, int] = info["state"].get("subjects", {})
        return {subject: count for subject, count in counts.items() if subject != self.fact}

    async def state(self) -> Mapping[str, Any]:
        """Describe all streams and consumers: what is set, what they hold, how far they are."""
        found: dict[str, Any] = {}
        names = await ask(self.fleet.client, "$JS.API.STREAM.NAMES", {})
        for stream in sorted(names["streams"]):
            info = await ask(self.fleet.client, f"$JS.API.STREAM.INFO.{stream}", {})
            consumers = await ask(self.fleet.client, f"$JS.API.CONSUMER.LIST.{stream}", {})
            found[stream] = (info["config"], await self.stored(stream))
            for consumer in consumers["consumers"]:
                kept = ("config", "delivered", "ack_floor", "num_ack_pending", "num_pending", "paused")
                found[f"{stream}/{consumer['name']}"] = {name: consumer.get(name) for name in kept}
        return found

    async def begun(self) -> Mapping[str, Any]:
        """Describe the state before anything is tried, and forget what was heard until now."""
        found = await self.state()
        await self.witness.flushed()
        self.heard.clear()
        return found

    def heard_on(self, targets: Iterable[str]) -> set[str]:
        """Say on which of *targets* anything was said in the control plane's account."""
        return {message.subject for message in self.heard} & set(targets)


@asynccontextmanager
async def calling(fleet: Fleet, identity: str) -> AsyncIterator[Caller]:
    """Connect as *identity*, with the library's own client and nothing of ours."""
    refused: list[str] = []

    async def on_error(err: Exception) -> None:
        if "permissions violation" in str(err):
            refused.append(str(err).split('"')[1])

    client = await nats.connect(
        fleet.nats.url,
        nkeys_seed_str=seed_file(fleet.nats.keys, identity).read_text().strip(),
        inbox_prefix=f"_INBOX_{identity}".encode(),
        error_cb=on_error,
    )
    try:
        yield Caller(client, identity, refused)
    finally:
        await client.close()


@asynccontextmanager
async def a_siege(fleet: Fleet) -> AsyncIterator[Siege]:
    """Let the fleet's first host loose."""
    async with AsyncExitStack() as stack:
        intruder, other = [await stack.enter_async_context(calling(fleet, f"host-{h}")) for h in fleet.hosts]
        witness = await stack.enter_async_context(calling(fleet, "bootstrap"))
        siege = Siege(fleet, intruder, other, witness)
        siege.heard = await witness.hears(">")
        yield siege
