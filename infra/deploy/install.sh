#!/bin/sh
# Install what a Debian 12 machine lacks to develop roost: system packages, then the locked Python environment.
# Each once, and only what is missing. Usage: install.sh [SYSTEM PACKAGE MORE ...]
set -eu
cd "$(dirname "$0")/../.."
mkdir -p .cache

PACKAGES="busybox-static cpio gcc iproute2 kmod libc6-dev libvirt-clients libvirt-daemon
libvirt-daemon-driver-qemu libvirt-dev mount nftables pkg-config procps python3-dev python3-venv
qemu-system-x86 qemu-utils util-linux $*"

missing=""
for package in $PACKAGES; do
    status=$(dpkg-query -W -f='${Status}' "$package" 2>/dev/null || true)
    [ "$status" = "install ok installed" ] || missing="$missing $package"
done
# Any PostgreSQL from 15 on will do; Debian's, where there is none.
postgresql=postgresql
for initdb in /usr/lib/postgresql/*/bin/initdb; do
    version=${initdb#/usr/lib/postgresql/}
    [ -e "$initdb" ] && [ "${version%%/*}" -ge 15 ] && postgresql=""
done
missing="$missing${postgresql:+ $postgresql}"
if [ -n "$missing" ]; then
    if [ "$(id -u)" -ne 0 ]; then
        echo "error: these system packages are missing and only root can install them:$missing" >&2
        echo "try:   sudo apt-get update && sudo apt-get install --no-install-recommends$missing" >&2
        exit 1
    fi
    echo "roost: installing system packages:$missing" >&2
    apt_get() {
        DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@" > .cache/apt.log 2>&1 || {
            cat .cache/apt.log >&2
            echo "error: apt-get $* failed, see above; nothing else was changed" >&2
            exit 1
        }
    }
    apt_get update
    # The packages' own services and clusters stay off: roost starts servers of its own.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' > "$policy"
        chmod 755 "$policy"
        trap 'rm -f "$policy"' EXIT
    fi
    case "$missing" in *postgresql*)
        apt_get install -y --no-install-recommends postgresql-common
        sed -i 's/^#\?create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
        ;;
    esac
    # shellcheck disable=SC2086 - a list of words is what it takes
    apt_get install -y --no-install-recommends $missing
fi

if ! cmp -s requirements.lock .venv/requirements.lock; then
    echo "roost: installing the locked Python environment into .venv (about a minute, once)" >&2
    rm -rf .venv
    python3 -m venv .venv
    .venv/bin/pip install -qq --disable-pip-version-check --require-hashes -r requirements.lock
    cp requirements.lock .venv/requirements.lock
fi
# The package itself is installed in place; it has no dependencies that are not in the lock.
if ! cmp -s pyproject.toml .venv/pyproject.toml; then
    .venv/bin/pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
    cp pyproject.toml .venv/pyproject.toml
fi
