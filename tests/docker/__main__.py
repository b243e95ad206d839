"""Run the tests of real servers on containers: `python -m tests.docker [ARGUMENTS OF PYTEST]`."""

import os
import subprocess
import sys
from pathlib import Path

from testcontainers.core.docker_client import DockerClient

from infra.runtime.errors import Unavailable
from tests.docker.engine import FOLDER, EngineRefused, engine
from tests.docker.images import NATS, POSTGRES, build_nats, build_postgres

SUITE = ("tests/contract", "tests/integration")
LAB = ("tests/contract/test_hypervisor.py", "tests/integration/lab")
"""Never in one run with an engine: one that makes a bridge cuts the lab's hosts off from each other."""
SUITE_TIMEOUT_S = 1500.0


def main() -> int:
    """Give pytest's exit code, or 1 where containers are left or there is no engine."""
    try:
        with engine() as address:
            return run(address)
    except (EngineRefused, Unavailable) as err:
        print(f"error: {err}", file=sys.stderr)
        return 1


def run(address: str) -> int:
    """Make the images, run the suite on them, see that it left nothing."""
    os.environ["DOCKER_HOST"] = address
    client = DockerClient()
    version = client.client.version()["Version"]
    print(f"engine {version}, storage {client.client.info()['Driver']}, at {address}", flush=True)
    images = FOLDER / "images"
    images.mkdir(mode=0o711)
    build_nats(client, images / "nats")
    build_postgres(client, images / "postgres")
    for image in client.client.images.list():
        print(f"image {image.tags[0]}: {image.attrs['Size'] / 1e6:.0f} MB", flush=True)
    told = {
        "ROOST_TEST_BACKEND": "docker",
        "ROOST_TEST_NATS_IMAGE": NATS,
        "ROOST_TEST_POSTGRES_IMAGE": POSTGRES,
    }
    without = [f"--ignore={path}" for path in LAB]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *without, *(sys.argv[1:] or SUITE)],
        env=os.environ | told,
        check=False,
        timeout=SUITE_TIMEOUT_S,
        cwd=Path(__file__).parents[2],
    )
    left = [f"{one.name} ({one.status})" for one in client.client.containers.list(all=True)]
    left += [f"volume {one.name}" for one in client.client.volumes.list()]
    client.client.close()
    if left:
        print(f"error: the tests left behind: {', '.join(left)}", file=sys.stderr)
    return done.returncode or bool(left)


if __name__ == "__main__":
    sys.exit(main())
