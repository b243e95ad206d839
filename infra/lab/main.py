"""The owner of one lab: start the hosts, say so in JSON lines on stdout, end them when told to."""

import argparse
import asyncio
import json
import os
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from infra.lab.failure import LabFailed
from infra.lab.host_files import HOSTS_MAX, HostPlan
from infra.lab.owner import (
    HostProcess,
    end_host,
    end_switch,
    start_host,
    start_switch,
    wait_answering,
    wait_off,
)
from infra.lab.probe import missing
from infra.lab.programs import say
from infra.lab.run_folder import RUNS, claim, new_run_id, release


def tell(event: str, **facts: object) -> None:
    """Print one JSON line."""
    print(json.dumps({"event": event, **facts}), flush=True)


def tell_failed(err: LabFailed) -> None:
    """Say what failed to the program that reads us and to the person who watches."""
    tell("failed", what=err.what, why=err.why, hint=err.hint)
    say(str(err))


async def own(*, run: Path, run_id: str, images: Path, hosts: int, obey: bool) -> None:
    """Hold a lab until a signal comes; whatever ends it, take down all that was made, in reverse order."""
    cancel_on_signals()
    async with AsyncExitStack() as made:
        claim(run)
        made.callback(release, run)
        images.mkdir(parents=True, exist_ok=True)
        switch = await start_switch()
        made.push_async_callback(end_switch, switch)
        running: dict[str, HostProcess] = {}
        made.push_async_callback(end_all, running)

        async def power_on(plan: HostPlan) -> None:
            running[plan.name] = await start_host(plan, images=images, hosts=hosts, switch_pid=switch.pid)

        for number in range(1, hosts + 1):
            await power_on(HostPlan(run, run_id, number))
        await asyncio.gather(*(wait_answering(host) for host in running.values()))
        tell("ready", hosts=[facts(host) for host in running.values()])
        if not obey:
            await asyncio.Event().wait()
        wishes = await open_stdin()
        while name := (await wishes.readline()).decode().strip():
            try:
                await wait_off(running[name])
                await power_on(running[name].plan)
                await wait_answering(running[name])
            except LabFailed as err:
                tell_failed(err)
            else:
                tell("on", hosts=[facts(running[name])])


async def open_stdin() -> asyncio.StreamReader:
    """Read stdin beside other work; it must be a pipe."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer
    )
    return reader


async def end_all(running: dict[str, HostProcess]) -> None:
    """Power off every host at once."""
    await asyncio.gather(*(end_host(host) for host in running.values()))


def facts(host: HostProcess) -> dict[str, object]:
    """Say what a client needs to know about a host."""
    return {
        "name": host.plan.name,
        "uri": host.plan.uri,
        "dir": str(host.plan.folder),
        "address": host.plan.address,
        "init_pid": host.init_pid,
        "pid_namespace": host.pid_namespace,
    }


def cancel_on_signals() -> None:
    """Cancel the running task at the first SIGTERM or SIGINT; a second must not cut the cleaning short."""
    task = asyncio.current_task()

    def cancel_once() -> None:
        if task is not None and not task.cancelling():
            task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, cancel_once)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m infra.lab.main", description=__doc__)
    parser.add_argument("--hosts", type=int, default=2, choices=range(1, HOSTS_MAX + 1), metavar="N")
    parser.add_argument("--images", type=Path, required=True, help="every host's /var/lib/libvirt/images")
    parser.add_argument("--run-id", default=new_run_id(), metavar="HEX6")
    parser.add_argument("--run", type=Path, help=f"a folder with a short path; default {RUNS}/RUN-ID")
    parser.add_argument(
        "--obey-stdin", action="store_true", help="power on the host that each line names; end at its end"
    )
    parser.add_argument("--parent-pid", type=int, help="end at once unless this process is our parent")
    return parser.parse_args()


def main() -> int:
    """Own one lab."""
    options = parse()
    # The parent may have died before setpriv asked the kernel to kill us with it.
    if options.parent_pid not in {None, os.getppid()}:
        return 0
    run = (options.run or RUNS / options.run_id).resolve()
    try:
        if lacks := missing():
            raise LabFailed(
                what="start a lab on this machine",
                why="; ".join(lack.what for lack in lacks),
                hint="; ".join(sorted({lack.hint for lack in lacks})),
            )
        images = options.images.resolve()
        asyncio.run(
            own(
                run=run,
                run_id=options.run_id,
                images=images,
                hosts=options.hosts,
                obey=options.obey_stdin,
            )
        )
    except asyncio.CancelledError:
        pass  # SIGTERM or SIGINT: the lab is gone, as asked.
    except LabFailed as err:
        tell_failed(err)
        return 1
    tell("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
