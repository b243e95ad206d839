"""Choose what of a VM is shown, line by line."""

from collections.abc import Mapping, Sequence
from typing import Any

from services.cli.core.columns import Body, short, verb
from services.cli.core.complaint import aligned
from services.cli.core.units import show_mib, show_seconds, show_time

HEAD = ("NAME", "PHASE", "HOST", "CPU", "MEMORY", "IMAGE", "ID")
ENDED = {"stopped", "deleted"}

_VERDICTS = {"do": "yes", "join": "joins", "already": "no need", "refuse": "-"}
VERDICTS_SAY = "yes: done; joins: ends with the same that is under way; no need: it is so already; -: refused"
_OPTIONS = {
    "vcpus": "cpus",
    "vcpus_max": "max-cpus",
    "memory_mib": "memory",
    "agent_wait_s": "agent-wait",
    "placement": "wishes",
}
"""Fields of a spec that the command line calls otherwise."""


def row(vm: Body, *, tty: bool) -> Sequence[str]:
    """Show one VM in a line."""
    return (
        vm["name"],
        _phase(vm),
        vm["host"]["name"] if vm["host"] else "-",
        str(vm["vcpus"]),
        show_mib(vm["memory_mib"]),
        vm["image"],
        short(vm["id"], tty=tty),
    )


def lines(vm: Body, hosts: Mapping[str, str], *, tty: bool) -> Sequence[tuple[str, str]]:
    """Show one VM in full; *hosts* are the names of those that it wishes for, by their ids."""
    pending = [_option(field) for field in vm["pending_changes"]]
    return (
        ("Name", vm["name"]),
        ("Id", vm["id"]),
        ("Phase", _phase(vm)),
        ("Desired", vm["desired"]),
        ("Host", f"{vm['host']['name']} ({vm['host']['id']})" if vm["host"] else "-"),
        *_spec_lines(vm["spec"]),
        *_each("Wish", _wishes(vm["spec"]["placement"], hosts)),
        *([("Next start", f"takes over {', '.join(pending)}")] if pending else []),
        *([("Agent", "connected" if vm["agent"] else "not connected")] if vm["host"] else []),
        ("Generation", str(vm["generation"])),
        ("Last stop", " ".join((vm["last_stop"] or "-").split())),
        ("Created", show_time(vm["created_at"], local=tty)),
        ("Changed", show_time(vm["changed_at"], local=tty)),
        ("Possible now", ", ".join(verb(one) for one in vm["allowed_verbs"]) or "-"),
    )


def failure_lines(vm: Body) -> Sequence[str]:
    """Show what was wrong with the last start, and the end of QEMU's log."""
    failed = vm["last_failure"]
    if failed is None or not (failed["failures"] or failed["log_tail"]):
        return []
    found = aligned([(one["step"], one["code"], one["message"]) for one in failed["failures"]], indent=2)
    log = [f"  {line}" for line in failed["log_tail"].splitlines()]
    return [
        *(["what was wrong with the last start:", *found] if found else []),
        *(["the end of QEMU's log:", *log] if log else []),
    ]


def effective_lines(vm: Body) -> Sequence[tuple[str, str]]:
    """Show what the hypervisor made of a VM, which must have run."""
    made, host = vm["effective"], vm["host"]
    disks = [
        (one["target"], one["name"], one["format"], one["path"], "read-only" if one["read_only"] else "")
        for one in made["disks"]
    ]
    nics = [(one["network"], one["mac"], one["model"]) for one in made["nics"]]
    ended = vm["phase"] in ENDED or host is None
    return (
        ("Run", f"the last one; the VM is {vm['phase']}" if ended else f"{vm['phase']} on {host['name']}"),
        ("Machine", made["machine"]),
        ("CPU model", made["cpu"]),
        ("CPU", _cpus(made)),
        ("Memory", show_mib(made["memory_mib"])),
        ("Boot", made["boot"]),
        *_each("Disk", disks),
        *_each("NIC", nics),
        ("Graphics", made["graphics"]),
        ("Video", made["video"]),
        ("Clock", made["clock"]),
        ("Controllers", ", ".join(made["controllers"]) or "-"),
        ("Entropy", made["rng"]),
        ("Balloon", made["balloon"]),
        ("Agent channel", made["agent_channel"]),
        ("Serial log", made["serial_log"]),
    )


def when_lines(vm: Body, patch: Mapping[str, Any]) -> Sequence[str]:
    """Say of the fields of *patch*, which *vm* has taken over, which are in effect and which wait."""
    waiting = set(patch) if vm["phase"] in ENDED else set(patch) & set(vm["pending_changes"])
    now, later = (
        ", ".join(_option(field) for field in patch if (field in waiting) is waits) for waits in (False, True)
    )
    reboot = f"; to have it now: roost vm reboot {vm['name']}" if "reboot" in vm["allowed_verbs"] else ""
    told = [("in effect now:", now)] if now else []
    return aligned([*told, *([("with its next start:", f"{later}{reboot}")] if later else [])])


def verb_table(verbs: Mapping[str, Mapping[str, str]]) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """Show what each verb means in each phase: a head and a row a verb."""
    phases = list(dict.fromkeys(phase for by_phase in verbs.values() for phase in by_phase))
    rows = [
        [verb(one), *(_VERDICTS.get(by_phase.get(phase, ""), "?") for phase in phases)]
        for one, by_phase in verbs.items()
    ]
    return ["VERB", *(phase.upper() for phase in phases)], rows


def _phase(vm: Body) -> str:
    cause = f" ({vm['pause_cause'].replace('_', ' ')})" if vm["pause_cause"] else ""
    return f"{vm['phase']}{cause}{'' if vm['responding'] else ' (not responding)'}"


def _spec_lines(spec: Body) -> Sequence[tuple[str, str]]:
    disks = [
        (
            one["name"],
            "as large as its image" if one["size_mib"] is None else show_mib(one["size_mib"]),
            f"from {one['base']}" if one["base"] else "empty",
            one["format"],
            f"in {one['storage']}",
        )
        for one in spec["disks"]
    ]
    nics = [(one["network"], one["mac"] or "address made from the VM's id") for one in spec["nics"]]
    return (
        ("CPU", _cpus(spec)),
        ("Memory", show_mib(spec["memory_mib"])),
        ("Image", spec["image"]),
        *_each("Disk", disks),
        *_each("NIC", nics),
        ("Machine", spec["machine"] or "the host's own"),
        ("CPU model", spec["cpu_model"] or "the host's own"),
        ("Graphics", spec["graphics"]),
        ("On I/O error", verb(spec["on_io_error"])),
        ("When stopped", "kept by the hypervisor" if spec["persistent"] else "forgotten by the hypervisor"),
        ("Agent wait", show_seconds(spec["agent_wait_s"])),
        ("Priority", str(spec["priority"])),
        ("HA", "room is kept on other hosts" if spec.get("highly_available") else "no"),
    )


def _wishes(wishes: Body, hosts: Mapping[str, str]) -> Sequence[tuple[str, str]]:
    """Show where it may start, and where it would rather: a row a kind, and one a group."""
    rows = [
        ("with label", wishes["require_labels"]),
        ("without label", wishes["forbid_labels"]),
        ("only on", [hosts.get(one, one) for one in wishes["hosts"]]),
        ("rather on", [hosts.get(one, one) for one in wishes["prefer_hosts"]]),
    ]
    groups = [
        (f"{'' if one['hard'] else 'rather '}{one['rule']}", f"group {one['name']}")
        for one in wishes["groups"]
    ]
    return [*((kind, ", ".join(some)) for kind, some in rows if some), *groups]


def _cpus(counts: Body) -> str:
    most = counts["vcpus_max"]
    return f"{counts['vcpus']}, at most {most}" if most and most > counts["vcpus"] else str(counts["vcpus"])


def _each(name: str, rows: Sequence[Sequence[str]]) -> Sequence[tuple[str, str]]:
    return [(name, text) for text in aligned(rows)]


def _option(field: str) -> str:
    return _OPTIONS.get(field, verb(field))
