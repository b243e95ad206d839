"""What one host of the lab is, and the text of its configuration files."""

import uuid
from dataclasses import dataclass
from pathlib import Path

# Folders under the host's own that are bound over libvirt's.
BOUND = {
    "etc": Path("/etc/libvirt"),
    "run": Path("/run/libvirt"),
    "lib": Path("/var/lib/libvirt"),
    "cache": Path("/var/cache/libvirt"),
    "log": Path("/var/log/libvirt"),
}
# Files under the host's own that are bound over the machine's.
BOUND_FILES = {
    "hosts": Path("/etc/hosts"),
    "passwd": Path("/etc/passwd"),
    "group": Path("/etc/group"),
}
# libvirtd looks this user up before it reads that it is to run QEMU as root. Debian makes it with
# libvirt-daemon-system, which would start a libvirtd on the machine itself; the lab does without.
QEMU_USER = "libvirt-qemu"
QEMU_UID = 64055
# The images folder of the lab, the same for all hosts: their shared storage.
IMAGES = Path("/var/lib/libvirt/images")
PREFIX_BITS = 16
HOSTS_MAX = 64
UUIDS = uuid.UUID("6f0c2f0e-51f7-4a53-9df7-8f5b7dd0a6c1")


@dataclass(frozen=True)
class HostPlan:
    """One host to be: all that follows from the run and the host's number (from 1)."""

    run: Path
    run_id: str
    number: int

    @property
    def name(self) -> str:
        """Return the name within the lab."""
        return f"host-{self.number}"

    @property
    def hostname(self) -> str:
        """Return the host name that libvirt reports: unique among labs."""
        return f"host-{self.number}-{self.run_id}"

    @property
    def address(self) -> str:
        """Return the IPv4 address: each lab has its own network, so all may use the same ones."""
        return f"10.90.0.{self.number}"

    @property
    def folder(self) -> Path:
        """Return the host's folder; short, since unix socket paths are."""
        return self.run / f"h{self.number}"

    @property
    def socket(self) -> Path:
        """Return libvirtd's unix socket, as seen from outside."""
        return self.folder / "run" / "libvirt-sock"

    @property
    def uri(self) -> str:
        """Return the libvirt URI that reaches the host from outside."""
        return f"qemu+unix:///system?socket={self.socket}"


def host_files(plan: HostPlan, *, hosts: int, passwd: str, group: str) -> dict[str, str]:
    """Return the host's files by path under its folder, for a lab of *hosts* hosts.

    *passwd* and *group* are the machine's.
    """
    # The same uuid on two hosts makes libvirt refuse to migrate "to the same host".
    host_uuid = uuid.uuid5(UUIDS, plan.hostname)
    peers = (HostPlan(plan.run, plan.run_id, number) for number in range(1, hosts + 1))
    return {
        "etc/libvirtd.conf": (
            f'host_uuid = "{host_uuid}"\n'
            f'listen_tls = 0\nlisten_tcp = 1\nlisten_addr = "{plan.address}"\nauth_tcp = "none"\n'
            'auth_unix_ro = "none"\nauth_unix_rw = "none"\nunix_sock_rw_perms = "0700"\n'
            'log_outputs = "3:file:/var/log/libvirt/libvirtd.log"\n'
        ),
        "etc/qemu.conf": (
            'security_driver = "none"\nuser = "root"\ngroup = "root"\ndynamic_ownership = 0\n'
            "remember_owner = 0\nnamespaces = []\ncgroup_controllers = []\n"
            # Without a resolver the destination has to be named by its address.
            f'migration_host = "{plan.address}"\nmigration_address = "{plan.address}"\n'
        ),
        "etc/virtlogd.conf": 'log_outputs = "3:file:/var/log/libvirt/virtlogd.log"\n',
        "hosts": "127.0.0.1 localhost\n" + "".join(f"{p.address} {p.hostname} {p.name}\n" for p in peers),
        "passwd": with_line(passwd, f"{QEMU_USER}:x:{QEMU_UID}:{QEMU_UID}::/nonexistent:/usr/sbin/nologin"),
        "group": with_line(group, f"{QEMU_USER}:x:{QEMU_UID}:"),
    }


def with_line(text: str, line: str) -> str:
    """Add *line* to a passwd or group file, unless its name is there."""
    name, _, _ = line.partition(":")
    if any(present.startswith(f"{name}:") for present in text.splitlines()):
        return text
    return f"{text.rstrip()}\n{line}\n"
