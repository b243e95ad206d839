"""Choose what of each body is shown in a table."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from services.cli.core import figures
from services.cli.core.complaint import aligned
from services.cli.core.units import show_mib, show_time

Body = Mapping[str, Any]
SHORT = 8
"""Characters of an id's own part that are shown to people; as many are enough to name it again."""

_UUID = re.compile(r"([0-9a-f]{8})(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

HOST_HEAD = ("NAME", "STATE", "VMS", "CPU USED", "MEMORY USED", "FREE", "ID")
OPERATION_HEAD = ("ID", "VERB", "TARGET", "STATE", "ACCEPTED", "RESULT")
EVENT_HEAD = ("SEQ", "TIME", "TYPE", "VM", "HOST", "ACTOR")


def host_row(host: Body, *, tty: bool) -> Sequence[str]:
    """Show one host in a line."""
    capacity, allocated, free = host["capacity"], host["allocated"], host["free"]
    return (
        host["name"],
        host["state"],
        str(host["vms"]),
        f"{allocated['vcpus']} of {capacity['vcpus']}",
        f"{show_mib(allocated['memory_mib'])} of {show_mib(capacity['memory_mib'])}",
        f"{free['vcpus']} CPU, {show_mib(free['memory_mib'])}",
        short(host["id"], tty=tty),
    )


def host_lines(host: Body, *, tty: bool) -> Sequence[tuple[str, str]]:
    """Show one host in full."""
    age, versions = host["last_heartbeat_age_s"], host["versions"] or {}
    heard = "not since the API started" if age is None else f"{age:.1f} s ago"
    return (
        ("Name", host["name"]),
        ("Id", host["id"]),
        ("State", host["state"]),
        ("Heartbeat", heard),
        ("VMs", str(host["vms"])),
        ("Capacity", _amount(host["capacity"])),
        ("Allocated", _amount(host["allocated"])),
        ("Free", _amount(host["free"])),
        ("Machine", f"{host['cores']} cores, {show_mib(host['physical_memory_mib'])}"),
        ("Reported", show_time(host["reported_at"], local=tty)),
        *(figures.machine_lines(host["machine"]) if host.get("machine") else ()),
        *((name.capitalize(), str(version)) for name, version in versions.items()),
    )


def operation_row(operation: Body, *, tty: bool) -> Sequence[str]:
    """Show one operation in a line."""
    return (
        short(operation["id"], tty=tty),
        verb(operation["verb"]),
        short(operation["target"]["id"], tty=tty),
        operation["state"],
        show_time(operation["accepted_at"], local=tty),
        _result(operation),
    )


def operation_lines(operation: Body, *, tty: bool) -> Sequence[tuple[str, str]]:
    """Show one operation in full."""
    return (
        ("Id", operation["id"]),
        ("Verb", verb(operation["verb"])),
        ("Target", operation["target"]["id"]),
        ("State", operation["state"]),
        ("Requested by", operation["requested_by"]),
        ("Accepted", show_time(operation["accepted_at"], local=tty)),
        ("Ended", show_time(operation["ended_at"], local=tty)),
        ("Result", operation["error"]["detail"] if operation["error"] else operation["note"] or "-"),
    )


def step_lines(operation: Body, *, tty: bool) -> Sequence[str]:
    """Show the steps of one operation."""
    steps = operation["steps"]
    return aligned([(f"#{one['seq']}", show_time(one["time"], local=tty), one["type"]) for one in steps])


def target(operation: Body) -> str:
    """Name what an operation is about."""
    return f"{operation['target']['kind']} {operation['target']['id']}"


def event_row(event: Body, *, tty: bool) -> Sequence[str]:
    """Show one event in a line."""
    return (
        str(event["seq"]),
        show_time(event["time"], local=tty),
        event["type"] or "(unreadable)",
        *(short(event[kind], tty=tty) if event[kind] else "-" for kind in ("vm", "host")),
        _actor(event["actor"] or "-", tty=tty),
    )


def verb(name: str) -> str:
    """Write a verb of the API, or another of its words, as the command line does."""
    return name.replace("_", "-")


def by_name(things: Sequence[Body]) -> Sequence[Body]:
    """Order things for people; the API orders them by id."""
    return sorted(things, key=lambda thing: str(thing["name"]))


def short(id_: str, *, tty: bool) -> str:
    """Shorten an id for people; programs get it whole."""
    prefix, _, rest = id_.partition("_")
    return f"{prefix}_{rest[:SHORT]}" if tty else id_


def _actor(actor: str, *, tty: bool) -> str:
    return _UUID.sub(r"\1", actor) if tty else actor


def _result(operation: Body) -> str:
    if operation["error"]:
        return str(operation["error"]["code"])
    return "nothing to do" if operation["note"] else "-"


def _amount(amount: Body) -> str:
    return f"{amount['vcpus']} CPU, {show_mib(amount['memory_mib'])}"
