"""Figures are shown in units that people read, and whole to programs."""

import json
from typing import Any

import pytest

from services.cli.core.exits import Exit
from services.cli.core.figures import size
from tests.unit.cli.conftest import HOST, NOON, VM, Json, Roost, Server, host, problem

OF_MEMORY = "current_kib maximum_kib rss_kib unused_kib available_kib usable_kib swap_in_kib swap_out_kib"
MEMORY = dict.fromkeys(OF_MEMORY.split()) | {"major_faults": None}
DISK = {"target": "vda", "path": "x", "read_bytes": 2048, "read_requests": 3, "read_seconds": 0.1}
DISK |= {"write_bytes": 5 * 1024**3, "write_requests": 4, "write_seconds": 0.1, "flush_requests": 0}
DISK |= {"capacity_bytes": 1024**4, "allocation_bytes": None, "physical_bytes": None, "flush_seconds": 0}
NIC = {"device": "vnet0", "received_bytes": 10, "received_packets": 1, "received_errors": 1}
NIC |= {"received_drops": 0, "sent_bytes": 0, "sent_packets": 0, "sent_errors": 2, "sent_drops": 4}


def vm_told(**more: Any) -> Json:
    return {
        "vm": VM,
        "host": HOST,
        "at": NOON,
        "age_s": 3.14,
        "vcpus": 2,
        "cpu_used": 1.5,
        "cpu_seconds": 12.34,
        "cpu_wait_seconds": None,
        "cpu_steal_seconds": 0.5,
        "memory": MEMORY | {"current_kib": 524288, "maximum_kib": 1048576},
        "disks": [DISK],
        "nics": [NIC],
        **more,
    }


def host_told() -> Json:
    names = ("total_kib", "free_kib", "available_kib", "cached_kib", "swap_total_kib", "swap_free_kib")
    return {
        "host": HOST,
        "at": NOON,
        "age_s": 1,
        "interval_s": 10,
        "cpu": {"user": 0.5, "system": 0.25, "idle": 0.25, "iowait": 0, "steal": 0},
        "memory": dict.fromkeys(names, 1024),
        "load": [0.1, 1, 22.5],
        "vms": [VM],
    }


def test_a_vm_shows_what_it_uses(roost: Roost, server: Server) -> None:
    server.answers[f"GET /vms/{VM}/statistics"] = (200, vm_told())
    said = roost("vm", "stats", VM)
    assert said.code == Exit.OK
    lines = [" ".join(line.split()) for line in said.out.splitlines()]
    assert "Told: 3.1 s ago" in lines
    assert "CPU: 1.50 of 2 in use" in lines
    assert "Memory: 512.0 MiB of 1.0 GiB" in lines
    assert "Waited for I/O: -" in lines
    assert "vda 2.0 KiB 3 5.0 GiB 4 1.0 TiB -" in lines
    assert "vnet0 10 B 1 0 B 0 3 4" in lines


def test_a_vm_without_disks_and_with_one_telling_has_no_empty_tables(roost: Roost, server: Server) -> None:
    server.answers[f"GET /vms/{VM}/statistics"] = (200, vm_told(disks=[], nics=[], cpu_used=None))
    said = roost("vm", "stats", VM)
    assert "? of 2 in use" in said.out
    assert "DISK" not in said.out
    assert said.err == ""


def test_a_host_shows_how_busy_it_is(roost: Roost, server: Server) -> None:
    server.answers[f"GET /hosts/{HOST}/statistics"] = (200, host_told())
    said = roost("host", "stats", "host-1")
    assert "50 % user, 25 % system, 25 % idle, 0 % iowait, 0 % steal" in said.out
    assert "0.10 1.00 22.50" in said.out
    assert json.loads(roost("host", "stats", HOST, "-o", "json").out) == host_told()


def test_what_was_not_heard_of_is_said_so(roost: Roost, server: Server) -> None:
    server.answers[f"GET /vms/{VM}/statistics"] = problem(404, "no_statistics", "nothing was heard")
    said = roost("vm", "stats", VM)
    assert (said.code, "nothing was heard" in said.err) == (Exit.CONFLICT, True)


def test_a_host_shows_what_it_is_made_of(roost: Roost, server: Server) -> None:
    storage = {"name": "default", "path": "/disks", "total_mib": 2048, "free_mib": 1024, "writable": False}
    machine = {
        "processor": {
            "arch": "x86_64",
            "model": "EPYC",
            "vendor": "AMD",
            "sockets": 1,
            "cores": 8,
            "threads": 2,
            "features": [f"f{number}" for number in range(10)],
        },
        "numa": [{"node": 0, "cpus": "0-15", "memory_mib": 8192}],
        "hugepages": [
            {"size_kib": 2048, "total": 10, "free": 4},
            {"size_kib": 1048576, "total": 0, "free": 0},
        ],
        "storages": [
            storage | {"problem": None},
            storage | {"name": "nfs", "problem": "no answer within 5 s"},
        ],
        "networks": ["br0", "br1"],
        "labels": ["rack=a", "ssd"],
        "foreign": [{"uuid": "u", "name": "theirs", "state": "running"}],
        "foreign_total": 3,
    }
    server.answers[f"GET /hosts/{HOST}"] = (200, host() | {"machine": machine})
    lines = [" ".join(line.split()) for line in roost("host", "show", HOST).out.splitlines()]
    assert "Processor: AMD EPYC (x86_64; 1 sockets, 8 cores each, 2 threads a core)" in lines
    assert "CPU features: f0, f1, f2, f3, f4, f5, f6, f7 and 2 more" in lines
    assert "NUMA node 0: CPUs 0-15, 8 GiB" in lines
    assert "Pages of 2.0 MiB: 4 free of 10" in lines
    assert not any("1.0 GiB:" in line for line in lines)
    assert "Storage default: /disks: 1 GiB free of 2 GiB, read-only" in lines
    assert "Storage nfs: /disks: no answer within 5 s" in lines
    assert "Labels: rack=a, ssd" in lines
    assert "Networks: br0, br1" in lines
    assert "Not roost's: theirs (running), and 2 more" in lines


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (None, "-"),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1024**6, "1024.0 PiB"),
        (1536 * 1024, "1.5 MiB"),
    ],
)
def test_bytes_are_written_in_a_readable_unit(count: int | None, shown: str) -> None:
    assert size(count) == shown
