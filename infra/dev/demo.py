"""Show roost's main job on this machine, on real parts: `python -m infra.dev.demo`, or `make demo`."""

import argparse
import asyncio
import os
import sys
import time
from dataclasses import dataclass, field
from uuid import UUID

from events import codec
from events.envelope import Envelope
from events.ids import Seq
from infra.deploy.identities import seed_file
from infra.dev.folders import scratch
from infra.dev.interrupt import until_signalled
from infra.dev.main import banner
from infra.dev.stack import Stack, Wanted
from infra.eventlog.connection import closer, connect
from infra.eventlog.jetstream import JetStreamLog
from infra.lab.failure import LabFailed
from infra.runtime.errors import ConfigInvalid, Unavailable
from infra.runtime.ids import random_id
from infra.runtime.service import background
from infra.runtime.settings import EX_CONFIG

COMMAND_TIMEOUT_S = 60.0
GUEST_TIMEOUT_S = 60.0
"""A guest under emulation on busy cores takes several times its usual 4 s."""
HINT = "try:   run it again; `make up` runs the same for longer and keeps its logs in .roost-dev/logs"
INSTEAD = "or:    `make demo HYPERVISOR=sim` shows the same with simulated hosts"
PICTURE = """
  roost vm start demo
        |
       API ----> CMD stream ----> scheduler ----> EVT stream ----> hostd ----> libvirt ----> QEMU
        ^                                           |   ^            |                        |
        '--- PostgreSQL <--- projector <------------'   '--- facts --'<------ lifecycle ------'
"""


class DemoFailed(Exception):
    """What failed, why, and what to try."""


@dataclass
class Show:
    """What the audience sees: events as they happen, then a table."""

    stack: Stack
    began: float = 0.0
    """When the command was accepted, in seconds since the epoch: what events are timed against."""
    following: asyncio.Event = field(default_factory=asyncio.Event)
    rows: list[tuple[str, float]] = field(default_factory=list)
    seen: dict[str, asyncio.Future[float]] = field(default_factory=dict)

    async def follow(self, log: JetStreamLog, commands: JetStreamLog) -> None:
        """Print each command and event as it happens: one stream asks, the other answers."""
        asked = commands.follow(await commands.last_seq(), ["cmd.>"])
        told = log.follow(await log.last_seq(), ["evt.>"])
        self.following.set()
        command: UUID | None = None
        while True:
            for recorded in await told.next(64, 1.0):
                envelope = codec.decode_envelope(recorded.body)
                while envelope.correlationid not in {None, command}:
                    for sent in await asked.next(1, 1.0):
                        command = self.accept(codec.decode_envelope(sent.body))
                self.print(recorded.seq, envelope)

    def accept(self, command: Envelope) -> UUID:
        """Show a command; from here on events are timed against it."""
        self.began = command.time.timestamp()
        print(f"    command {command.type} accepted", flush=True)
        return command.id

    def print(self, seq: Seq, envelope: Envelope) -> None:
        """Show one event, with the time since the command."""
        since = envelope.time.timestamp() - self.began if self.began else 0.0
        kind, object_id, writer = envelope.subject.removeprefix("evt.").split(".")
        by = writer if writer in {"ctl", "desired"} else "host"
        print(
            f"    #{seq:<4} +{since * 1000:8.1f} ms  {envelope.type:<20} {kind} {object_id[:8]} by {by}",
            flush=True,
        )
        if not self.of(envelope.type).done():
            self.of(envelope.type).set_result(envelope.time.timestamp())

    def of(self, kind: str) -> asyncio.Future[float]:
        """Give the time of the first event of type *kind*, once it has come."""
        return self.seen.setdefault(kind, asyncio.get_running_loop().create_future())

    async def roost(self, step: str, *args: str) -> None:
        """Run the command line as a person would, and time it."""
        print(f"\n$ roost {' '.join(args)}", flush=True)
        began = time.monotonic()
        env = {**os.environ, "ROOST_URL": self.stack.url, "ROOST_TOKEN": self.stack.token}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services.cli.main", *args),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=env,
        )
        try:
            out, err = await asyncio.wait_for(process.communicate(), COMMAND_TIMEOUT_S)
        except TimeoutError as late:
            process.kill()
            await process.wait()
            raise DemoFailed(f"roost {' '.join(args)}: no end after {COMMAND_TIMEOUT_S:g} s") from late
        self.rows.append((step, time.monotonic() - began))
        if process.returncode != 0:
            raise DemoFailed(f"roost {' '.join(args)} ended with {process.returncode}:\n{err.decode()}")
        if args[1] in {"list", "show"}:
            print(out.decode(), end="", flush=True)

    async def until(self, step: str, kind: str) -> None:
        """Wait for an event, and time it."""
        try:
            at = await asyncio.wait_for(self.of(kind), GUEST_TIMEOUT_S)
        except TimeoutError as late:
            raise DemoFailed(f"no event {kind} within {GUEST_TIMEOUT_S:g} s of the start") from late
        self.rows.append((step, at - self.began))

    def qemu(self) -> int:
        """Count the guests' QEMU processes that really run in the lab."""
        lab = self.stack.lab
        return 0 if lab is None else sum(len(lab.qemu_pids(host.name)) for host in lab.hosts)

    def table(self) -> str:
        """Sum up: one row a step."""
        width = max(len(step) for step, _ in self.rows)
        lines = [f"  {'STEP':<{width}}  SECONDS"]
        lines += [f"  {step:<{width}}  {seconds:7.2f}" for step, seconds in self.rows]
        return "\n".join(lines)


async def perform(show: Show) -> None:
    """Take one VM through its whole life."""
    stack = show.stack
    client = await connect(stack.nats.url, seed_file(stack.keys, "bootstrap"), "bootstrap", lambda _: None)
    log, commands = (JetStreamLog(client, stream, random_id) for stream in ("EVT", "CMD"))
    try:
        async with background(show.follow(log, commands)):
            await asyncio.wait_for(show.following.wait(), COMMAND_TIMEOUT_S)
            await show.roost(
                "create", *["vm", "create", "demo", "--image", "tiny", "--cpu", "1", "--memory", "128M"]
            )
            await show.roost("start, until QEMU runs", "vm", "start", "demo")
            _check(not stack.real or show.qemu() == 1, f"{show.qemu()} QEMU processes run instead of 1")
            if stack.real:
                print(f"    QEMU processes in the lab now: {show.qemu()}", flush=True)
            await show.until("start, until the guest agent answers", "vm.running")
            await show.roost("show", "vm", "show", "demo")
            await show.roost("hosts", "host", "list")
            await show.roost("stop, by the guest itself", "vm", "stop", "demo")
            _check(show.qemu() == 0, f"{show.qemu()} QEMU processes still run after the stop")
            await show.roost("delete", "vm", "delete", "demo")
            await show.roost("operations", "op", "list")
    finally:
        await closer(client)()


def _check(holds: bool, why: str) -> None:
    if not holds:
        raise DemoFailed(why)


async def demo(wanted: Wanted) -> None:
    """Start everything, perform, stop everything."""
    print("roost: one command through the whole chain" + PICTURE, flush=True)
    stack = Stack(wanted, lambda line: print(f"  {line}", flush=True))
    show = Show(stack)

    async def run() -> None:
        began = time.monotonic()
        await stack.start()
        show.rows.append(("everything up", time.monotonic() - began))
        print(banner(stack), flush=True)
        await perform(show)

    async def stop() -> None:
        began = time.monotonic()
        await stack.stop()
        show.rows.append(("everything down", time.monotonic() - began))

    if await until_signalled(run(), stop, lambda line: print(f"  {line}", flush=True)):
        raise DemoFailed("it was interrupted; everything that was started has been stopped")
    print(f"\n{show.table()}\n\nDone: everything that was started has been stopped.", flush=True)


def main() -> None:
    """Run the demo; on a failure say what, why and what to try, and end with 1."""
    parser = argparse.ArgumentParser(prog="python -m infra.dev.demo", description=__doc__)
    parser.add_argument("--hypervisor", choices=["libvirt", "sim"], default="libvirt")
    hypervisor = parser.parse_args().hypervisor
    try:
        with scratch("roost-demo-") as folder:
            asyncio.run(demo(Wanted(folder, hypervisor=hypervisor, api_port=0, ephemeral=True)))
    except ConfigInvalid as err:
        print(f"error: {err}\n{INSTEAD}", file=sys.stderr)
        sys.exit(EX_CONFIG)
    except (DemoFailed, Unavailable, LabFailed) as err:
        print(f"error: the demo failed: {err}\n{HINT}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
