"""Run all of roost on this machine: `python -m infra.dev.main`, or `roost dev`."""

import argparse
import asyncio
import sys
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path

from infra.dev.folders import scratch
from infra.dev.hosts import choose
from infra.dev.interrupt import until_signalled
from infra.dev.stack import API_PORT, Stack, Wanted
from infra.lab.failure import LabFailed
from infra.runtime.errors import ConfigInvalid, Unavailable
from infra.runtime.settings import EX_CONFIG

WIDTH = 78


def arguments() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(prog="roost dev", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(".roost-dev"), help="where everything is kept")
    parser.add_argument("--ephemeral", action="store_true", help="keep nothing: a folder that is removed")
    parser.add_argument("--hosts", type=int, default=2, metavar="N", help="how many hosts (default 2)")
    parser.add_argument(
        "--hypervisor",
        choices=["auto", "libvirt", "sim"],
        default="auto",
        help="real libvirt hosts, simulated ones, or (auto) real ones where this machine can",
    )
    parser.add_argument("--port", type=int, default=API_PORT, help="the API's port, or the next free one")
    return parser


def say(line: str) -> None:
    """Say what is being done, on standard error, at once."""
    print(f"roost dev: {line}", file=sys.stderr, flush=True)


def banner(stack: Stack) -> str:
    """Say aloud what is real here and what is not; a person must not be able to miss it."""
    if not stack.real:
        lines = ["HOSTS ARE SIMULATED: no QEMU runs, no guest boots.", ""]
        lacks = choose("auto").lacks
        lines += [f"For real ones this machine lacks: {lack.what}; try: {lack.hint}" for lack in lacks]
        if not lacks:
            lines.append("Asked for by --hypervisor sim; this machine could run real ones.")
    elif stack.domain_type == "qemu":
        lines = ["Hosts are real libvirt; guests run under emulation (no usable /dev/kvm): slow, but real."]
    else:
        lines = ["Hosts are real libvirt; guests run on KVM."]
    rule = "!" * WIDTH if not stack.real else "-" * WIDTH
    return "\n".join([rule, *lines, rule])


def ready(stack: Stack, ephemeral: bool) -> str:
    """Say where everything is, aligned."""
    kind = f"libvirt ({stack.domain_type})" if stack.real else "simulated"
    kept = "forgotten at the end" if ephemeral else "kept; --ephemeral to forget"
    rows = [
        ("API", f"{stack.url}/api/v1"),
        ("OpenAPI", f"{stack.url}/api/v1/openapi.json"),
        ("Ready", f"{stack.url}/readyz?verbose"),
        ("NATS", stack.nats.url),
        ("PostgreSQL", f"127.0.0.1:{stack.postgres.port}"),
        ("Hosts", f"{len(stack.hosts)} {kind}: {', '.join(host.name for host in stack.hosts)}"),
        ("Data", f"{stack.wanted.data} ({kept})"),
        ("Token", f"{stack.wanted.data / 'token'}"),
    ]
    head = f"roost {version('roost')} is ready (one machine, not for production)"
    return "\n".join(
        [
            head,
            *(f"  {name:<12}{value}" for name, value in rows),
            *_environment(stack),
            "Try:  roost host list",
            "      roost vm create demo --image tiny --cpu 1 --memory 128M && roost vm start demo",
            "Stop: Ctrl-C",
        ]
    )


def _environment(stack: Stack) -> list[str]:
    """Say how the command line finds us, where it would not by itself."""
    data = stack.wanted.data
    if data == Path(".roost-dev").resolve():
        return []
    return [f"For another terminal:  export ROOST_URL={stack.url} ROOST_TOKEN_FILE={data / 'token'}"]


async def live(wanted: Wanted) -> None:
    """Start, serve until a signal, stop; a signal during the start ends that as well."""
    stack = Stack(wanted, say)

    async def serve() -> None:
        await stack.start()
        print(banner(stack), file=sys.stderr, flush=True)
        print(ready(stack, wanted.ephemeral), flush=True)
        await stack.children.watch(say)

    await until_signalled(serve(), stack.stop, say)


def main() -> None:
    """Parse, run, and say what failed, why, and what to try."""
    args = arguments().parse_args()
    place = scratch("roost-ephemeral-") if args.ephemeral else nullcontext(args.data.resolve())
    try:
        with place as data:
            wanted = Wanted(data, args.hosts, args.hypervisor, api_port=args.port, ephemeral=args.ephemeral)
            asyncio.run(live(wanted))
    except ConfigInvalid as err:
        print(f"error: {err}", file=sys.stderr)
        sys.exit(EX_CONFIG)
    except (Unavailable, LabFailed) as err:
        print(f"error: {err}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
