"""Eight schedulers active at once on three nodes whose leaders are killed: every hard rule is kept."""

import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from nats.aio.client import Client

from events import subjects
from events.commands import Command, CreateVm, StartVm
from events.ids import CommandId, HostId, Seq, VmId, simulated_host_id
from events.spec import VmSpec
from infra.deploy.identities import seed_file
from infra.deploy.streams import ensure_host_consumer
from infra.eventlog.consumer import JetStreamConsumer
from infra.eventlog.jetstream import JetStreamLog
from infra.runtime.errors import Unavailable
from infra.runtime.health import Health
from infra.runtime.ids import random_id
from infra.runtime.service import background
from services.scheduler.handler import Scheduler
from services.scheduler.memory import Memory
from services.scheduler.settings import SchedulerSettings
from services.scheduler.tenure import Commands
from sim.checkers.ledger import Ledger
from sim.reading import read_ledger
from tests.integration.scheduler.asking import make_image
from tests.support.builders import a_write, apart, command_id, spec, together, vm_id, wishing
from tests.support.eventually import eventually
from tests.support.fleet import make_command_consumer
from tests.support.leaders import closing
from tests.support.nats_cluster import NatsCluster
from tests.support.process import running_service
from tests.support.still_clock import StillClock
from tests.support.writers import insist

HOSTS = [simulated_host_id(number) for number in range(1, 9)]
SCHEDULERS, KILLS = 8, 2
ALONE = ("db", "web", "mail")
ALL_MEMBERS = len(HOSTS) + 2
"""Of each of those groups: two more than there are hosts."""
TOGETHER, TIED = ("app", "shop", "wiki", "chat"), 3
HEARD = 3
WITHIN_S = 120.0


@pytest.fixture
def cluster() -> Iterator[NatsCluster]:
    folder = Path(tempfile.mkdtemp(prefix="roost-test-"))
    cluster = NatsCluster(folder, HOSTS)
    yield cluster
    cluster.stop()
    shutil.rmtree(folder)


@asynccontextmanager
async def scheduler(cluster: NatsCluster, heard: Sequence[HostId]) -> AsyncIterator[None]:
    """Run one that decides without asking for the lease. What fits on none that it hears it gives back."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(closing(await cluster.client("scheduler")))
        log = JetStreamLog(client, "EVT", random_id)
        memory = Memory(log, JetStreamLog(client, "CMD", random_id), StillClock())
        for host in heard:
            memory.heard(subjects.heartbeat(host), b"")
        rival = Scheduler(
            log=log,
            commands=Commands(JetStreamConsumer(client, "CMD", "scheduler")),
            memory=memory,
            settings=SchedulerSettings.model_validate({"nats_seed_file": "none"}),
            clock=StillClock(),
            new_id=random_id,
            health=Health(),
        )
        follower = await rival.start()
        rival.active = True
        await stack.enter_async_context(background(rival.follow(follower)))
        await stack.enter_async_context(background(rival.serve()))
        yield


@asynccontextmanager
async def hosts(cluster: NatsCluster, folder: Path) -> AsyncIterator[None]:
    """Run the daemon of all simulated hosts."""
    make_image(folder)
    settings = {
        "ROOST_NATS_URL": cluster.url,
        "ROOST_NATS_SEED_FILE": str(seed_file(cluster.keys, f"host-{HOSTS[0]}")),
        "ROOST_STATE_DIR": str(folder),
        "ROOST_IMAGE_DIR": str(folder / "images"),
    }
    module, said = "services.hostd.main", folder / "hostd.log"
    async with running_service(module, "--simulate", str(len(HOSTS)), settings=settings, said=said):
        yield


def wished() -> Mapping[VmId, VmSpec]:
    """The members of all groups, in no order that would suit anybody."""
    small = spec(vcpus=1, memory_mib=64)
    wishes = [apart(name) for _ in range(ALL_MEMBERS) for name in ALONE] + [
        together(name) for name in TOGETHER for _ in range(TIED)
    ]
    return {
        vm_id(number): wishing(small.model_copy(update={"name": f"vm-{number}"}), wish)
        for number, wish in enumerate(wishes[::-1])
    }


async def ask(commands: JetStreamLog, asked: Mapping[CommandId, Command]) -> None:
    """Send commands as the API does, one by one."""
    for id_, command in asked.items():
        write = a_write(subjects.command(command.vm_id, id_), command, event_id=id_, operation=id_)
        await insist(lambda write=write: commands.append([write], {write.subject: Seq(0)}))  # type: ignore[misc]


async def told(log: JetStreamLog, holds: Callable[[Ledger], bool]) -> Ledger:
    """Wait until the log tells that *holds*; give what it tells then."""
    found: list[Ledger] = []

    async def tells() -> bool:
        try:
            found.append(await read_ledger(log))
        except Unavailable:
            return False  # No leader yet.
        return holds(found[-1])

    await eventually(tells, "the log tells of it", WITHIN_S)
    return found[-1]


async def strike(cluster: NatsCluster, client: Client) -> None:
    """Kill EVT's leader and start it again."""
    leader = await cluster.leader(client)
    cluster.kill(leader)
    cluster.start(leader)
    await cluster.whole(client)


# nats-py drops the stream of a connection that breaks during the handshake without closing it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_no_rule_is_broken_by_eight_at_once(
    cluster: NatsCluster, tmp_path: Path, no_slow_callbacks: list[str]
) -> None:
    specs = wished()
    creates = {command_id(n): CreateVm(vm_id=vm, spec=one) for n, (vm, one) in enumerate(specs.items())}
    starts = {command_id(1000 + n): StartVm(vm_id=vm) for n, vm in enumerate(specs)}
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(closing(await cluster.form()))
        await insist(lambda: make_command_consumer(client))
        for host in HOSTS:
            await insist(lambda host=host: ensure_host_consumer(client, host))  # type: ignore[misc]
        log, commands = (JetStreamLog(client, name, random_id) for name in ("EVT", "CMD"))
        await stack.enter_async_context(hosts(cluster, tmp_path))
        await stack.enter_async_context(scheduler(cluster, HOSTS))
        await told(log, lambda ledger: len(ledger.hosts) == len(HOSTS))
        for number in range(1, SCHEDULERS):
            # Each hears others, so that they choose others.
            await stack.enter_async_context(scheduler(cluster, [*HOSTS, *HOSTS][number : number + HEARD]))
        await ask(commands, creates)
        await told(log, lambda ledger: creates.keys() <= ledger.ends.keys())
        await ask(commands, starts)
        for blow in range(1, KILLS + 1):
            await told(log, lambda ledger, least=5 * blow: len(ledger.placed) >= least)  # type: ignore[misc]
            await strike(cluster, client)
        ledger = await told(log, lambda ledger: starts.keys() <= ledger.ends.keys())
    ledger.check()
    ledger.check_ended([*creates, *starts])
    # Eight processes' work on one loop beside three nodes: each is watched where it is a process of its own.
    no_slow_callbacks.clear()
    assert [members(ledger, name) for name in TOGETHER] == [[TIED]] * len(TOGETHER)
    assert [members(ledger, name) for name in ALONE] == [[1] * len(HOSTS)] * len(ALONE)


def members(ledger: Ledger, group: str) -> list[int]:
    """Count the members of *group* on each host that has any."""
    placed = Counter(
        vm.placement.host_id
        for vm in ledger.vms.values()
        if vm.placement is not None and group in [wish.name for wish in vm.spec.placement.groups]
    )
    return sorted(placed.values())
