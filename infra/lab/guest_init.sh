#!/bin/sh
# PID 1 of the tiny guest: modules, the agent, then one line a second for ever.
mount -t proc proc /proc
mount -t devtmpfs dev /dev
mount -t sysfs sys /sys
exec </dev/console >/dev/console 2>&1
hostname tiny
ip link set lo up

# The order matters: in another one insmod says "Unknown symbol" and the agent's port never appears.
for module in virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_console \
    virtio_blk failover net_failover virtio_net virtio_balloon virtio-rng evdev button pvpanic pvpanic-mmio; do
    insmod "/lib/modules/$module.ko"
done

# Ports get their names a moment after the driver is there. No udev here, so the links are ours to make.
start_agent() {
    mkdir -p /dev/virtio-ports
    tries=0
    while [ "$tries" -lt 100 ]; do
        for name in /sys/class/virtio-ports/*/name; do
            [ -s "$name" ] && ln -sf "../$(basename "$(dirname "$name")")" "/dev/virtio-ports/$(cat "$name")"
        done
        if [ -e /dev/virtio-ports/org.qemu.guest_agent.0 ]; then
            exec qemu-ga --method virtio-serial --path /dev/virtio-ports/org.qemu.guest_agent.0 --statedir /run
        fi
        tries=$((tries + 1))
        usleep 50000
    done
}
start_agent &
# The power button: acpid runs /etc/acpi/PWRF/00000080.
[ -e /dev/input/event0 ] && acpid -f -l /dev/null -c /etc/acpi &

# On the kernel's command line: roost.write=/dev/vda writes there once a second and says what came of it,
# roost.panic=SECONDS has the kernel panic after so long.
disk="" panic=""
for word in $(cat /proc/cmdline); do
    case "$word" in
        roost.write=*) disk="${word#roost.write=}" ;;
        roost.panic=*) panic="${word#roost.panic=}" ;;
    esac
done
write() {
    if dd if=/dev/zero of="$disk" bs=64k count=1 seek="$1" conv=notrunc,fsync 2>/dev/null; then
        echo "wrote $1"
    else
        echo "could not write $1"
    fi
}

echo "roost-guest ready"
seconds=0
while :; do
    echo "tick $seconds"
    [ -n "$disk" ] && write "$seconds"
    [ "$panic" = "$seconds" ] && echo c >/proc/sysrq-trigger
    seconds=$((seconds + 1))
    sleep 1
done
