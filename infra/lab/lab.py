"""A lab as tests and `roost dev` use it: start, break and stop real libvirt hosts."""

import asyncio
import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from infra.lab.failure import LabFailed
from infra.lab.owner import ANSWER_TIMEOUT_S, DIES_WITH_US, SOURCE, assert_pipe, until, virsh
from infra.lab.processes import Process, arguments, inside, namespace
from infra.lab.run_folder import RUNS, new_run_id

# Above the bounds within the owner, so that its own message arrives rather than ours.
START_TIMEOUT_S = ANSWER_TIMEOUT_S + 30.0
STOP_TIMEOUT_S = 30.0
GONE_TIMEOUT_S = 10.0
BACK_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class LabHost:
    """One libvirt host of a lab."""

    name: str
    uri: str
    dir: Path
    address: str  # Reachable from the other hosts of the lab alone.
    init_pid: int
    pid_namespace: int


class Lab:
    """A running lab; `async with await Lab.start(...) as lab` stops it at the end.

    Start it from the main thread: the kernel ends the lab with the *thread* that started it.
    """

    def __init__(self, owner: asyncio.subprocess.Process, *, run: Path, hosts: tuple[LabHost, ...]) -> None:
        self._owner = owner
        self.run = run
        self.hosts = hosts

    @classmethod
    async def start(
        cls, *, images: Path, hosts: int = 2, run_id: str | None = None, run: Path | None = None
    ) -> Self:
        """Start a lab and wait until every host answers; raise LabFailed with the owner's reason if not.

        Every host sees *images* as /var/lib/libvirt/images: shared storage.
        """
        run_id = run_id or new_run_id()
        run = run or RUNS / run_id
        owner = await asyncio.create_subprocess_exec(
            *(*DIES_WITH_US, sys.executable, "-m", "infra.lab.main", "--parent-pid", str(os.getpid())),
            *("--hosts", str(hosts), "--images", str(images.resolve())),
            *("--run-id", run_id, "--run", str(run.resolve()), "--obey-stdin"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=SOURCE,
            # A group of its own: Ctrl-C on a test run ends the test, and the test ends the lab.
            start_new_session=True,
        )
        lab = cls(owner, run=run, hosts=())
        try:
            lab.hosts = await lab._told()
        except BaseException:
            await lab.stop()
            raise
        return lab

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def owner_pid(self) -> int:
        """Return the owner's pid, which is also its process group."""
        return self._owner.pid

    async def stop(self) -> None:
        """End the lab and wait until it is gone; nothing to do if it is already."""
        if self._owner.returncode is None:
            self._owner.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._owner.communicate(), STOP_TIMEOUT_S)
        except TimeoutError as late:
            self._owner.kill()
            await self._owner.wait()
            raise LabFailed(
                what=f"stop the lab in {self.run}",
                why=f"its owner did not end within {STOP_TIMEOUT_S:g} s and was killed",
                hint="the next lab sweeps its folder",
            ) from late

    def host(self, name: str) -> LabHost:
        """Return the host called *name*; raise LabFailed if there is none."""
        for host in self.hosts:
            if host.name == name:
                return host
        raise LabFailed(
            what=f"find {name}",
            why=f"this lab has {', '.join(host.name for host in self.hosts)}",
            hint="one of these, or a lab with more hosts",
        )

    async def virsh(self, name: str, *argv: str) -> str:
        """Run virsh against a host and return what it prints; raise LabFailed if it fails."""
        return await virsh(self.host(name).uri, *argv)

    def qemu_pids(self, name: str) -> tuple[int, ...]:
        """List the guests' QEMU processes on a host, as /proc shows them in the root pid namespace.

        QEMUs that libvirtd starts only to ask what QEMU can do are not guests and have no -name.
        """
        return tuple(
            found.pid
            for found in self._inside(name)
            if found.name.startswith("qemu-system") and "-name" in arguments(found.pid)
        )

    def libvirtd_pids(self, name: str) -> tuple[int, ...]:
        """List the host's libvirtd processes: one, or none between its death and its restart."""
        return tuple(found.pid for found in self._inside(name) if found.name == "libvirtd")

    async def kill_libvirtd(self, name: str) -> None:
        """Kill -9 libvirtd; the host's init starts it again, QEMU runs on. See `wait_answering`."""
        for pid in self.libvirtd_pids(name):
            os.kill(pid, signal.SIGKILL)

    async def wait_answering(self, name: str, *, timeout_s: float = BACK_TIMEOUT_S) -> None:
        """Wait until the host's libvirtd answers; raise LabFailed with its last refusal if it does not."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            try:
                await self.virsh(name, "version")
            except LabFailed:
                if asyncio.get_running_loop().time() > deadline:
                    raise
            else:
                return

    async def kill_host(self, name: str) -> None:
        """Cut the host's power: every process in it dies at once. Return when they are gone.

        util-linux's unshare then grumbles about sigprocmask on stderr; it means nothing.
        """
        if self._is_on(name):
            os.kill(self.host(name).init_pid, signal.SIGKILL)
        await until(lambda: not self._inside(name), what=f"see {name} gone", timeout_s=GONE_TIMEOUT_S)

    async def power_on(self, name: str) -> LabHost:
        """Start a host that had its power cut, and wait until it answers.

        Its disk is as it was: definitions, images, logs. Its /run is empty and no guest runs.
        """
        assert_pipe(self._owner.stdin).write(f"{self.host(name).name}\n".encode())
        (fresh,) = await self._told()
        self.hosts = tuple(fresh if host.name == name else host for host in self.hosts)
        return fresh

    async def _told(self) -> tuple[LabHost, ...]:
        line = await asyncio.wait_for(assert_pipe(self._owner.stdout).readline(), START_TIMEOUT_S)
        return hosts_in(line)

    def _inside(self, name: str) -> tuple[Process, ...]:
        # The kernel gives a dead namespace's number to the next one, so look only while its init is there:
        # PID 1 is the last to leave.
        return inside(self.host(name).pid_namespace) if self._is_on(name) else ()

    def _is_on(self, name: str) -> bool:
        host = self.host(name)
        return namespace(host.init_pid, "pid") == host.pid_namespace


def hosts_in(line: bytes) -> tuple[LabHost, ...]:
    """Read a line of the owner's; raise LabFailed if it does not tell of running hosts."""
    told: dict[str, Any] = json.loads(line) if line else {"event": "none"}
    match told["event"]:
        case "ready" | "on":
            return tuple(host_in(facts) for facts in told["hosts"])
        case "failed":
            raise LabFailed(what=told["what"], why=told["why"], hint=told["hint"])
        case _:
            raise LabFailed(
                what="start a lab", why="its owner ended without a word", hint="its last lines on stderr"
            )


def host_in(facts: dict[str, Any]) -> LabHost:
    """Read what the owner says about one host."""
    return LabHost(**{**facts, "dir": Path(facts["dir"])})
