"""The folder of one lab, and the sweeping of folders whose owner is dead."""

import os
import secrets
import shutil
from pathlib import Path

from infra.lab.failure import LabFailed
from infra.lab.locks import locked
from infra.lab.processes import process
from infra.lab.programs import say

RUNS = Path("/run/roost-lab")
OWNER_FILE = "owner.pid"
RUN_ID_BYTES = 3
LOCK_TIMEOUT_S = 30.0
# sun_path holds 108 bytes with the closing zero (unix(7)); what follows is the longest tail that we make.
SOCKET_PATH_MAX = 107
LONGEST_TAIL = "/h00/run/libvirt-admin-sock"


def new_run_id() -> str:
    """Draw a name for a run."""
    return secrets.token_hex(RUN_ID_BYTES)


def claim(run: Path) -> None:
    """Make *run* this process's folder, after sweeping what dead owners left; raise LabFailed if taken."""
    if len(f"{run}{LONGEST_TAIL}") > SOCKET_PATH_MAX:
        raise LabFailed(
            what=f"use {run} as run folder",
            why=f"a socket in it would have a path longer than {SOCKET_PATH_MAX} bytes",
            hint=f"a shorter --run, or none for {RUNS}/ID",
        )
    with locked(RUNS, timeout_s=LOCK_TIMEOUT_S):
        for folder in (*RUNS.iterdir(), run):
            sweep(folder)
        if run.exists() and any(run.iterdir()):
            raise LabFailed(
                what=f"use {run} as run folder",
                why="it is in use or not empty",
                hint="another --run or --run-id",
            )
        run.mkdir(parents=True, exist_ok=True)
        (run / OWNER_FILE).write_text(signature(os.getpid()))


def sweep(folder: Path) -> None:
    """Remove *folder* if its owner is dead; leave alone what has no owner file."""
    owner_file = folder / OWNER_FILE
    if not owner_file.is_file():
        return
    written = owner_file.read_text()
    if written and written == signature(int(written.split()[0])):
        return
    say(f"sweeping {folder}: its owner is dead")
    # The owner file last: should a dying process still write here, the next lab finishes the work.
    for child in sorted(folder.iterdir()):
        if child.is_dir():
            shutil.rmtree(child, ignore_errors=True)
    if not any(child.is_dir() for child in folder.iterdir()):
        shutil.rmtree(folder)


def signature(pid: int) -> str:
    """Name the process that has *pid* now, so that a later one with the same pid differs."""
    found = process(pid)
    return f"{pid} {found.start_ticks}\n" if found else f"{pid} gone\n"


def release(run: Path) -> None:
    """Remove the run folder that this process claimed."""
    shutil.rmtree(run)
