"""Be a service whose state lies on a small disk: `python -m tests.support.small_disk STATE MODULE ARGUMENT…`.

The disk is mounted in a mount namespace that ends with the process, whose id stays the same; from outside it
is at /proc/PID/root. The simulated guests are kept beside it, at STATE.guests, as a hypervisor's are.
"""

import os
import sys

SCRIPT = """
set -e
mkdir -p "$1" "$1.guests"
mount -t tmpfs -o size=1m none "$1"
mkdir "$1/guests"
mount --bind "$1.guests" "$1/guests"
shift
exec "$@"
"""


def main() -> None:
    """Become `python -m MODULE ARGUMENT…` with STATE on the small disk."""
    state, *command = sys.argv[1:]
    argv = ["unshare", "--mount", "sh", "-c", SCRIPT, "sh", state, sys.executable, "-m", *command]
    os.execvp("unshare", argv)  # noqa: S606 - the distribution's, wherever it is


if __name__ == "__main__":
    main()
