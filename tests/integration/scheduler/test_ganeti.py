"""What fits is held against Ganeti's tools: `hail` places one VM, `hspace` counts how many more go in.

Both keep room for the failure of any one node, as we do with one failure tolerated, and look at memory alone
for that: there vCPUs are plenty. They look greedily: where they say no and we say yes, every way is tried.
"""

import json
import random
import subprocess
from pathlib import Path

import pytest

from events.events import HostRegistered
from events.spec import VmSpec
from events.vm import reserved_by
from services.scheduler.core.weights import Policy
from services.scheduler.core.world import World
from tests.support.builders import a_host, host_id, report, spec
from tests.unit.scheduler.packs import bearable
from tests.unit.scheduler.story import Story, start

HAIL = "/usr/lib/ganeti/iallocators/hail"
HSPACE = "/usr/bin/hspace"
TIMEOUT_S = 30
FLEETS, STARTS = 12, 14
DISK = 1
"""MiB of each disk, on shared storage without end: Ganeti wants some."""
PLENTY = 10**6
MANY = 999
"""vCPUs: as many as hosts have where only memory counts."""


def a_fleet(seed: int, tolerates: int, policy: Policy = Policy.BALANCED) -> tuple[Story, random.Random]:
    """Give two to six hosts of some sizes."""
    draw = random.Random(seed)  # noqa: S311 - a story, not a secret
    story = Story(world=World(failures_tolerated=tolerates), policy=policy)
    for number in range(1, draw.randint(3, 7)):
        vcpus, gib = draw.choice([4, 8, 12, 16]) if not tolerates else MANY, draw.choice([2, 4, 8, 12])
        host = a_host(host_id(number), vcpus=vcpus, memory_mib=gib * 1024)
        story.given(HostRegistered(host=host), report(host_id(number)))
    return story, draw


def a_vm(draw: random.Random) -> VmSpec:
    some = spec("any", draw.choice([1, 2, 3, 4, 6]), draw.choice([256, 512, 1024, 2048, 3000]))
    return some.model_copy(update={"highly_available": True})


def told(story: Story) -> str:
    """Write the fleet as Ganeti's tools read it (htools(1), text backend).

    A node is never filled to the last MiB there, so each has one more than we give.
    """
    hosts = {view.host.host_id: view.host for view in story.world.fleet}
    nodes = [
        f"{host.name}|{host.capacity.memory_mib + 1}|0|{host.free.memory_mib + 1}|{PLENTY}|{PLENTY}"
        f"|{host.capacity.vcpus}|N|group|{PLENTY}||N|{PLENTY}|0|1.0"
        for host in hosts.values()
    ]
    instances = []
    for known in story.world.vms.values():
        vm = known.value
        if vm is not None and vm.placement is not None:
            takes, node = reserved_by(vm), hosts[vm.placement.host_id].name
            instances.append(
                f"{vm.spec.name}|{takes.memory_mib}|{DISK}|{takes.vcpus}|running|Y|{node}||ext||1|1|N"
            )
    limits = f"1,1,1,1,1,1|1,1,1,1,1,1;{PLENTY},999,{PLENTY},16,8,{PLENTY}|ext|1.0|{PLENTY}.0"
    tags: list[str] = []
    parts = [["group|group|preferred||"], nodes, instances, tags, [f"|{limits}", f"group|{limits}"]]
    return "\n".join("".join(f"{line}\n" for line in part) for part in parts)


def asked(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def hail(folder: Path, story: Story, wanted: VmSpec, *flags: str) -> str | None:
    """Ask for the node that `hail` gives a VM; None: it refuses."""
    data, request = folder / "fleet", folder / "request"
    data.write_text(told(story))
    whole = {
        "cluster_name": "roost",
        "cluster_tags": [],
        "enabled_hypervisors": ["kvm"],
        "version": 2,
        "ipolicy": {},
        "nodegroups": {},
        "nodes": {},
        "instances": {},
        "request": {
            "type": "allocate",
            "name": "wanted",
            "memory": wanted.needs.memory_mib,
            "vcpus": wanted.needs.vcpus,
            "disk_template": "ext",
            "disks": [{"size": DISK, "mode": "rw"}],
            "disk_space_total": DISK,
            "required_nodes": 1,
            "spindle_use": 1,
            "tags": [],
            "nics": [],
            "os": "any",
            "hypervisor": "kvm",
        },
    }
    request.write_text(json.dumps(whole))
    answer = json.loads(asked(HAIL, "-t", str(data), *flags, str(request)))
    if not answer["success"]:
        return None
    (node,) = answer["result"]
    return str(node)


def hspace(folder: Path, story: Story, wanted: VmSpec, *flags: str) -> int:
    """Ask how many more VMs like this one `hspace` finds room for."""
    data, needs = folder / "fleet", wanted.needs
    data.write_text(told(story))
    size = f"{DISK},{needs.memory_mib},{needs.vcpus}"
    # It also counts with smaller and smaller ones: from this size on, for it begins with the largest allowed.
    sizes = (f"--standard-alloc={size}", f"--tiered-alloc={size}")
    said = asked(HSPACE, "-t", str(data), "--disk-template", "ext", *sizes, "--machine-readable", *flags)
    (count,) = (line for line in said.splitlines() if line.startswith("HTS_ALLOC_INSTANCES="))
    return int(count.partition("=")[2])


@pytest.mark.parametrize("seed", range(FLEETS))
def test_a_vm_finds_a_host_where_hail_finds_one(tmp_path: Path, seed: int) -> None:
    story, draw = a_fleet(seed, tolerates=0)
    for number in range(1, STARTS):
        wanted = a_vm(draw)
        node = hail(tmp_path, story, wanted, "--no-capacity-checks")
        room = {
            view.host.name
            for view in story.world.fleet
            if view.host.free.vcpus >= wanted.needs.vcpus
            and view.host.free.memory_mib >= wanted.needs.memory_mib
        }
        assert (node in room) if node is not None else not room
        assert (start(story, number, wanted) is not None) == (node is not None)


@pytest.mark.parametrize("policy", Policy)
@pytest.mark.parametrize("seed", range(FLEETS))
def test_as_many_more_go_in_as_hspace_counts(tmp_path: Path, seed: int, policy: Policy) -> None:
    story, draw = a_fleet(seed, tolerates=0, policy=policy)
    for number in range(1, STARTS // 2):
        start(story, number, a_vm(draw))
    wanted = a_vm(draw)
    count = hspace(tmp_path, story, wanted, "--no-capacity-checks")
    more = [start(story, number, wanted) for number in range(STARTS, STARTS + count + 1)]
    assert [host is not None for host in more] == [True] * count + [False]


@pytest.mark.parametrize("seed", range(FLEETS))
def test_room_for_a_failure_is_seen_wherever_hail_sees_it_and_nowhere_else(tmp_path: Path, seed: int) -> None:
    story, draw = a_fleet(seed, tolerates=1)
    for number in range(1, STARTS):
        wanted = a_vm(draw)
        node = hail(tmp_path, story, wanted)
        host = start(story, number, wanted)
        assert node is None or host is not None, "they found a place where no failure is too much"
        if host is not None and node is None:
            assert len(bearable(story, 1)) == len(story.world.fleet), "they were right to refuse it"


@pytest.mark.parametrize("seed", range(FLEETS))
def test_beside_room_for_a_failure_no_fewer_go_in_than_hspace_counts(tmp_path: Path, seed: int) -> None:
    story, draw = a_fleet(seed, tolerates=1)
    for number in range(1, STARTS // 2):
        start(story, number, a_vm(draw))
    wanted = a_vm(draw)
    count = hspace(tmp_path, story, wanted)
    more = [start(story, number, wanted) for number in range(STARTS, STARTS + count)]
    assert all(host is not None for host in more)
