"""Start and stop the whole of roost on one machine, in order."""

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from infra.deploy.bootstrap import BootstrapSettings, bootstrap
from infra.deploy.identities import ensure_identity, seed_file, write_secret
from infra.dev.children import Children
from infra.dev.hosts import DevHost, Hypervisor, choose, real_hosts, simulated_hosts
from infra.embedded.nats import EmbeddedNats
from infra.embedded.postgres import EmbeddedPostgres
from infra.embedded.process import free_port
from infra.lab.guest import build_guest
from infra.lab.lab import Lab
from infra.lab.probe import kvm_works
from infra.runtime.errors import ConfigInvalid

API_PORT, NATS_PORT, POSTGRES_PORT = 8080, 4222, 15432
GUEST_MACHINE = "pc"
"""Without hardware virtualisation a guest on `pc` is up in half the time of one on `q35` (measured)."""


@dataclass(frozen=True)
class Wanted:
    """What kind of stack."""

    data: Path
    hosts: int = 2
    hypervisor: Hypervisor = "auto"
    api_port: int = API_PORT
    """0: any free port, and for the servers as well. The usual ones are sought by every other stack of this
    machine, which may take one while its server is down to be started again."""
    ephemeral: bool = False
    """Remove everything at the end."""
    guest_cache: Path = Path(".cache/guest")


@dataclass
class Stack:
    """A running stack. `start` fills it, `stop` empties it."""

    wanted: Wanted
    say: Callable[[str], None]
    real: bool = False
    domain_type: str = ""
    api_port: int = 0
    hosts: tuple[DevHost, ...] = ()
    lab: Lab | None = None
    children: Children = field(init=False)
    nats: EmbeddedNats = field(init=False)
    postgres: EmbeddedPostgres = field(init=False)
    _closing: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def url(self) -> str:
        """Where the API answers."""
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def keys(self) -> Path:
        """Where identities and passwords are kept (0700)."""
        return self.wanted.data / "keys"

    @property
    def token(self) -> str:
        """The administrator's token."""
        return (self.wanted.data / "token").read_text().strip()

    async def start(self) -> None:
        """Start everything and wait until it is ready; on an error stop what was started."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop everything in the reverse order."""
        await self._closing.aclose()

    async def _start(self) -> None:
        data = self.wanted.data
        data.mkdir(parents=True, exist_ok=True)
        if self.wanted.ephemeral:
            self._closing.callback(shutil.rmtree, data, ignore_errors=True)
        self._lock(data)
        (data / "logs").mkdir(exist_ok=True)
        self.real = choose(self.wanted.hypervisor).real
        self.hosts = real_hosts(data, self.wanted.hosts) if self.real else simulated_hosts(self.wanted.hosts)
        self._token(data)
        self._servers(data)
        await bootstrap(
            BootstrapSettings(
                nats_url=self.nats.url,
                nats_seed_file=seed_file(self.keys, "bootstrap"),
                postgres_dsn=SecretStr(self.postgres.dsn),
            ),
            [host.host_id for host in self.hosts],
        )
        self._auditor()
        self.children = Children(data / "logs")
        self._closing.callback(self.children.stop)
        self._services()
        await (self._real_hosts(data) if self.real else self._simulated_hosts(data))
        await self.children.ready()
        (data / "url").write_text(self.url + "\n")

    def _lock(self, data: Path) -> None:
        handle = os.open(data / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        self._closing.callback(os.close, handle)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as err:
            raise ConfigInvalid(f"{data} is in use by another roost dev; stop that or choose --data") from err

    def _token(self, data: Path) -> None:
        if not (data / "token").exists():
            write_secret(data / "token", f"roost_{secrets.token_urlsafe(32)}")

    def _servers(self, data: Path) -> None:
        keys = {host.host_id: ensure_identity(self.keys, f"host-{host.host_id}") for host in self.hosts}
        self.say("starting nats-server and PostgreSQL")
        nats_port, postgres_port = (NATS_PORT, POSTGRES_PORT) if self.wanted.api_port else (0, 0)
        self.nats = EmbeddedNats(data / "nats", self.keys, nats_port)
        self._closing.callback(self.nats.stop)
        self.nats.start(keys)
        self.postgres = EmbeddedPostgres(data / "postgres", self.keys, postgres_port)
        if self.wanted.ephemeral:
            self._closing.callback(self.postgres.remove)
        self._closing.callback(self.postgres.stop)
        self.postgres.start()

    def _services(self) -> None:
        self.say("starting scheduler, projector and API")
        self.api_port = free_port(self.wanted.api_port)
        dsn = {"ROOST_POSTGRES_DSN": self.postgres.dsn}
        self.children.add("projector", "services.projector.main", self._env("projector") | dsn)
        self.children.add("scheduler", "services.scheduler.main", self._env("scheduler"))
        token = {"ROOST_ADMIN_TOKEN_FILE": str(self.wanted.data / "token")}
        port = {"ROOST_API_PORT": str(self.api_port)}
        self.children.add("api", "services.api.main", self._env("api") | dsn | token | port)

    def _auditor(self) -> None:
        """Leave among the keys what `roost log` needs to find us."""
        told = self._env("auditor") | {"ROOST_POSTGRES_DSN": self.postgres.dsn}
        write_secret(self.keys / "auditor.env", "\n".join(f"{name}={value}" for name, value in told.items()))

    def _env(self, name: str) -> dict[str, str]:
        return {
            "ROOST_NATS_URL": self.nats.url,
            "ROOST_NATS_SEED_FILE": str(seed_file(self.keys, name)),
            "PYTHONUNBUFFERED": "1",
        }

    async def _simulated_hosts(self, data: Path) -> None:
        self.say(f"starting {len(self.hosts)} simulated hosts")
        env = self._env(f"host-{self.hosts[0].host_id}") | {
            "ROOST_STATE_DIR": str((data / "hosts").resolve()),
            "ROOST_IMAGE_DIR": str((data / "images").resolve()),
        }
        for name in ("tiny",):
            _pretend_image(data / "images" / name)
        self.children.add("hosts", "services.hostd.main", env, ["--simulate", str(len(self.hosts))])

    async def _real_hosts(self, data: Path) -> None:
        self.say("building the tiny guest")
        image = build_guest(out=data, cache=self.wanted.guest_cache)
        self.domain_type = "kvm" if kvm_works(image) else "qemu"
        self.say(f"starting {len(self.hosts)} libvirt hosts")
        self.lab = await Lab.start(images=image.parent, hosts=len(self.hosts))
        self._closing.push_async_callback(self.lab.stop)
        disks = (data / "disks").resolve()  # the hosts of a lab share this machine's file system
        disks.mkdir(exist_ok=True)
        for host, real in zip(self.hosts, self.lab.hosts, strict=True):
            env: Mapping[str, str] = self._env(f"host-{host.host_id}") | {
                "ROOST_HOST_ID": str(host.host_id),
                "ROOST_HOST_NAME": host.name,
                "ROOST_STATE_DIR": str((data / "hosts" / host.name).resolve()),
                "ROOST_IMAGE_DIR": str(image.parent.resolve()),
                "ROOST_LIBVIRT_URI": real.uri,
                "ROOST_DOMAIN_TYPE": self.domain_type,
                "ROOST_MACHINE": GUEST_MACHINE,
                "ROOST_CONSOLE_DIR": str((data / "hosts" / host.name / "console").resolve()),
                "ROOST_QEMU_LOG_DIR": str(real.dir / "log" / "qemu"),
                "ROOST_STORAGES": json.dumps({"default": str(disks)}),
            }
            self.children.add(host.name, "services.hostd.main", env)


def _pretend_image(folder: Path) -> None:
    """Lay out an image that a simulated host can find; nothing ever boots from it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("vmlinuz", "initrd.img"):
        (folder / name).touch()
    manifest = '{"kernel": "vmlinuz", "initrd": "initrd.img", "cmdline": ""}'
    (folder / "image.json").write_text(manifest)
