"""Draw and keep the nkeys by which each process is known to NATS."""

import os
from pathlib import Path

import nkeys

SERVICES = ("bootstrap", "scheduler", "projector", "api", "auditor")
"""Who has an identity; the auditor is whoever checks the log, and may write nothing."""
_SEED_BYTES = 32


def ensure_identity(folder: Path, name: str) -> str:
    """Make the seed file of *name* in *folder* if it is missing (0600); give its public key."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = seed_file(folder, name)
    if not path.exists():
        seed = nkeys.encode_seed(os.urandom(_SEED_BYTES), nkeys.PREFIX_BYTE_USER)
        write_secret(path, seed.decode())
    return str(nkeys.from_seed(path.read_text().strip().encode()).public_key.decode())


def seed_file(folder: Path, name: str) -> Path:
    """Say where the seed of *name* is kept."""
    return folder / f"{name}.nk"


def write_secret(path: Path, text: str) -> None:
    """Write *text* so that only its owner can read it, whole or not at all."""
    draft = path.with_name(f"{path.name}.draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
