"""The processes of one lab: a switch, and a host init for each host. They die with whoever started them."""

import asyncio
import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from infra.lab.failure import LabFailed
from infra.lab.host_files import BOUND, BOUND_FILES, HostPlan, host_files
from infra.lab.processes import child_of, namespace
from infra.lab.programs import PROGRAM_TIMEOUT_S, run_program, say

# The folder that `infra` is in: python -m finds it there whether or not it is installed.
SOURCE = Path(__file__).resolve().parents[2]
# The kernel kills unshare when the thread that started it ends, and PID 1 of the host when unshare ends;
# with PID 1 goes every process of its pid namespace, and with the last of them the other namespaces.
DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL")
NEW_HOST = (
    *("unshare", "--mount", "--uts", "--net", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"),
    *(sys.executable, "-m", "infra.lab.host"),
)
# `cat` holds the namespace until its stdin ends: our death, should we die before setpriv takes hold.
SWITCH = "ip link add br0 type bridge && ip link set br0 up && echo up && exec cat"
SPAWN_TIMEOUT_S = 10.0
POLL_S = 0.01
# The first call makes libvirtd probe QEMU's capabilities: 1 to 4 s alone, far more on a busy machine.
ANSWER_TIMEOUT_S = 90.0
ANSWER_POLL_S = 0.05
LOG_SHOWN_CHARS = 1500
GONE_TIMEOUT_S = 15.0

T = TypeVar("T")


@dataclass(frozen=True)
class HostProcess:
    """A running host."""

    plan: HostPlan
    unshare: asyncio.subprocess.Process
    init_pid: int
    pid_namespace: int


async def start_switch() -> asyncio.subprocess.Process:
    """Start the namespace with the bridge; its process's pid names it.

    No firewall of the machine reaches into it, so a Docker engine cannot cut the hosts off.
    """
    switch = await asyncio.create_subprocess_exec(
        *(*DIES_WITH_US, "unshare", "--net", "sh", "-c", SWITCH),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    line = await asyncio.wait_for(assert_pipe(switch.stdout).readline(), SPAWN_TIMEOUT_S)
    if line != b"up\n":
        raise LabFailed(
            what="make the lab's bridge",
            why="unshare or ip failed, see above",
            hint="python -m infra.lab.probe",
        )
    return switch


async def start_host(plan: HostPlan, *, images: Path, hosts: int, switch_pid: int) -> HostProcess:
    """Start one host and plug it into the switch; libvirtd may not answer yet."""
    port = f"h{plan.number}"
    ports = ("nsenter", "-t", str(switch_pid), "-n", "ip", "-brief", "link")
    # After a power cut the kernel takes a moment to clear the old network namespace, port included.
    await until(
        lambda: port not in re.findall(r"^\w+", run_program(*ports), flags=re.M),
        what=f"free {plan.name}'s port on the switch",
    )
    write_files(plan, hosts=hosts)
    unshare = await asyncio.create_subprocess_exec(
        *(*DIES_WITH_US, *NEW_HOST, "--run", str(plan.run), "--run-id", plan.run_id),
        *("--number", str(plan.number), "--images", str(images)),
        stdin=asyncio.subprocess.PIPE,
        stdout=sys.stderr,
        cwd=SOURCE,
    )
    init_pid = await until(lambda: init_of(unshare.pid), what=f"start {plan.name}")
    pid_namespace = namespace(init_pid, "pid")
    if pid_namespace is None:
        raise LabFailed(what=f"start {plan.name}", why="its init ended at once", hint="the messages above")
    switch = ("nsenter", "-t", str(switch_pid), "-n", "ip", "link")
    # Made inside the switch, the far end born inside the host: the machine's own namespace sees neither.
    run_program(*switch, "add", port, "type", "veth", "peer", "name", "eth0", "netns", str(init_pid))
    run_program(*switch, "set", port, "master", "br0", "up")
    return HostProcess(plan, unshare, init_pid, pid_namespace)


def init_of(unshare_pid: int) -> int | None:
    """Find the host's init once it is there and in namespaces of its own."""
    child = child_of(unshare_pid)
    if child is None or namespace(child.pid, "net") in {None, namespace(os.getpid(), "net")}:
        return None
    return child.pid


def write_files(plan: HostPlan, *, hosts: int) -> None:
    """Write the host's folder and make the places that it is bound over.

    After a power cut /run is empty, as on a real host; the rest is on disk and stays.
    """
    shutil.rmtree(plan.folder / "run", ignore_errors=True)
    for name, target in BOUND.items():
        (plan.folder / name).mkdir(parents=True, exist_ok=True)
        if not target.exists():
            say(f"making {target}, an empty folder to bind over")
            target.mkdir(parents=True, exist_ok=True)
    passwd, group = (BOUND_FILES[name].read_text() for name in ("passwd", "group"))
    for path, text in host_files(plan, hosts=hosts, passwd=passwd, group=group).items():
        (plan.folder / path).write_text(text)


async def wait_answering(host: HostProcess) -> None:
    """Wait until libvirtd answers and has probed QEMU; raise LabFailed with the end of its log if not."""
    deadline = asyncio.get_running_loop().time() + ANSWER_TIMEOUT_S
    while True:
        try:
            await virsh(host.plan.uri, "capabilities", timeout_s=ANSWER_TIMEOUT_S)
        except LabFailed as err:
            ended = host.unshare.returncode is not None
            if ended or asyncio.get_running_loop().time() > deadline:
                raise LabFailed(
                    what=f"hear from {host.plan.name}",
                    why="it has ended" if ended else err.why,
                    hint=f"the end of its log:\n{log_tail(host.plan)}",
                ) from err
            await asyncio.sleep(ANSWER_POLL_S)
        else:
            return


def log_tail(plan: HostPlan) -> str:
    """Return the last lines of libvirtd's log."""
    log = plan.folder / "log" / "libvirtd.log"
    return log.read_text(errors="replace")[-LOG_SHOWN_CHARS:] if log.exists() else "(no log)"


async def wait_off(host: HostProcess) -> None:
    """Wait for the end of a host whose power was cut a moment ago; raise LabFailed if it stays on."""
    await until(lambda: host.unshare.returncode is not None, what=f"see {host.plan.name} off")


async def end_host(host: HostProcess) -> None:
    """End a host with all its processes, as in a power cut, and wait until they are gone."""
    # The init ends when its lifeline does. A kill -9 would do the same, but makes unshare complain.
    assert_pipe(host.unshare.stdin).close()
    try:
        # The kernel lets unshare see its child's end only when the pid namespace is empty.
        await asyncio.wait_for(host.unshare.wait(), GONE_TIMEOUT_S)
    except TimeoutError:
        say(f"{host.plan.name} did not end within {GONE_TIMEOUT_S:g} s, killing it")
        host.unshare.kill()
        await asyncio.wait_for(host.unshare.wait(), GONE_TIMEOUT_S)


async def end_switch(switch: asyncio.subprocess.Process) -> None:
    """Let the switch end by itself and wait for it."""
    assert_pipe(switch.stdin).close()
    await asyncio.wait_for(switch.wait(), GONE_TIMEOUT_S)


async def virsh(uri: str, *argv: str, timeout_s: float = PROGRAM_TIMEOUT_S) -> str:
    """Run virsh against *uri* beside other work and return what it prints."""
    return await asyncio.to_thread(run_program, "virsh", "--quiet", "-c", uri, *argv, timeout_s=timeout_s)


async def until(ask: Callable[[], T | None], *, what: str, timeout_s: float = SPAWN_TIMEOUT_S) -> T:
    """Ask again and again until the answer is true, return it; raise LabFailed after *timeout_s*."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while not (answer := ask()):
        if asyncio.get_running_loop().time() > deadline:
            raise LabFailed(what=what, why=f"not within {timeout_s:g} s", hint="the messages above this one")
        await asyncio.sleep(POLL_S)
    return answer


def assert_pipe(stream: T | None) -> T:
    """Return the pipe that we asked for."""
    if stream is None:
        raise AssertionError("a process started with a pipe has none")
    return stream
