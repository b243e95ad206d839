"""A nats-server on a disk of its own that can lose power."""

import fcntl
import json
import os
import shutil
import struct
import subprocess
from pathlib import Path

from infra.deploy.accounts import accounts, server_config
from infra.deploy.identities import SERVICES, ensure_identity
from infra.embedded.nats import READY_TIMEOUT_S, nats_server
from infra.embedded.process import Process, answers, free_port, start

DISK_BYTES = 256 * 1024 * 1024
COMMAND_TIMEOUT_S = 30
EXT4_IOC_SHUTDOWN = 0x8004587D
"""`_IOR('X', 125, __u32)` in the kernel's ext4.h."""
EXT4_GOING_FLAGS_NOLOGFLUSH = 2
"""Write nothing any more, not even what the journal holds in memory."""

_ON_ITS_DISK = 'mount -o loop "$1" "$2" && shift 2 && exec "$@"'


class Machine:
    """A server whose mount lives in its own mount namespace, and so ends with it, whatever kills it.

    *synced* is what roost sets, `sync_interval: always`; without, the server's default.
    """

    def __init__(self, folder: Path, *, synced: bool) -> None:
        self.keys = folder / "keys"
        self._services = {name: ensure_identity(self.keys, name) for name in SERVICES}
        self._folder = folder
        self._mount = folder / "disk"
        self._mount.mkdir()
        self._synced = synced
        self._port = free_port()
        self._life = 0
        self._server: Process | None = None
        with self._image.open("wb") as image:
            image.truncate(DISK_BYTES)
        _run("mkfs.ext4", "-q", "-F", str(self._image))

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self._port}"

    def boot(self) -> None:
        """Mount the disk, which replays its journal, and start the server on it.

        After a life that lost power it is a copy of that one's disk, made when nothing changes any more: the
        old mount may still be going.
        """
        if self._server is not None:
            self._server.kill()
            before = self._image
            self._life += 1
            _run("cp", "--sparse=always", str(before), str(self._image))
            before.unlink()
        config = json.loads(
            server_config(self._port, str(self._mount / "jetstream"), accounts(self._services, {}))
        )
        if not self._synced:
            del config["jetstream"]["sync_interval"]
        file = self._folder / "nats.conf"
        file.write_text(json.dumps(config))
        mounted = ["sh", "-c", _ON_ITS_DISK, "sh", str(self._image), str(self._mount)]
        self._server = start(
            "nats-server",
            ["unshare", "--mount", "--propagation", "private", *mounted, nats_server(), "-c", str(file)],
            log=self._folder / "nats.log",
        )
        self._server.wait_until(lambda: answers(self._port), READY_TIMEOUT_S)

    def sync(self) -> None:
        """Put on the disk all that was written so far."""
        _run("sync", "--file-system", str(self._inside))

    def lose_power(self) -> None:
        """From this instant nothing reaches the disk; the server ends with the next boot."""
        disk = os.open(self._inside, os.O_RDONLY)
        try:
            fcntl.ioctl(disk, EXT4_IOC_SHUTDOWN, struct.pack("I", EXT4_GOING_FLAGS_NOLOGFLUSH))
        finally:
            os.close(disk)

    def stop(self) -> None:
        """End the server, and its mount with it."""
        if self._server is not None:
            self._server.kill()
        shutil.rmtree(self._folder)

    @property
    def _image(self) -> Path:
        return self._folder / f"disk-{self._life}.img"

    @property
    def _inside(self) -> Path:
        """The mounted disk, as seen by way of the server's own namespace."""
        assert self._server is not None
        return Path(f"/proc/{self._server.popen.pid}/root{self._mount}")


def _run(*args: str) -> None:
    done = subprocess.run(args, timeout=COMMAND_TIMEOUT_S, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(args)}: {done.stderr}"
