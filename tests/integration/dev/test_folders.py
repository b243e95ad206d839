"""A folder that is not kept goes with its owner, or with the next run when the owner was killed."""

import subprocess
import sys
from pathlib import Path

from infra.dev.folders import scratch

HOLD = """\
import sys, pathlib
from infra.dev.folders import scratch
with scratch("held-", pathlib.Path(sys.argv[1])) as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_it_is_removed_at_the_end(tmp_path: Path) -> None:
    with scratch("mine-", tmp_path) as folder:
        (folder / "file").touch()
        assert folder.stat().st_mode & 0o777 == 0o711
    assert list(tmp_path.iterdir()) == []


def test_the_next_one_removes_what_a_killed_one_left_and_spares_the_living(tmp_path: Path) -> None:
    (tmp_path / "held-by-a-stranger").mkdir()
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        held = Path(owner.stdout.readline().strip())
        with scratch("held-", tmp_path):
            assert held.is_dir()
        owner.kill()
        owner.wait()
        assert held.is_dir()
        with scratch("held-", tmp_path):
            assert not held.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["held-by-a-stranger"]
