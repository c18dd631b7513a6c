"""What runs in the discovery image: the first program, and what it does with the address that DHCP gives."""

from __future__ import annotations

from typing import Final

BUILD: Final = 1  # goes up with every change here: the image is then built anew

# Words of the kernel's command line: pxeforge.url=http://…/discovery/TOKEN, pxeforge.agent=SHA-256 of the agent, and
# BOOTIF=01-aa-bb-… as boot loaders tell by which NIC they came. No file system driver is in the image, no disk is
# opened for writing, and nothing here names one.
INIT: Final = r"""#!/usr/bin/busybox sh
export PATH=/usr/bin
/usr/bin/busybox mkdir -p /proc /sys /dev /run /tmp
/usr/bin/busybox --install -s /usr/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
exec </dev/console >/dev/console 2>&1
echo "pxeforge discovery: nothing is installed, no disk is touched"

for word in $(cat /proc/cmdline); do
    case $word in
    pxeforge.url=*) url=${word#*=} ;;
    pxeforge.agent=*) sha256=${word#*=} ;;
    BOOTIF=*) bootif=$(echo "${word#BOOTIF=??-}" | tr 'A-F-' 'a-f:') ;;
    esac
done

ends() {
    sync
    case $1 in
    poweroff) echo "pxeforge discovery: done, power off"; sleep 1; poweroff -f ;;
    reboot) echo "pxeforge discovery: done, reboot"; sleep 1; reboot -f ;;
    esac
    echo "pxeforge discovery: done, this host waits: switch it off"
    while :; do sleep 3600; done
}

failed() {
    echo "pxeforge discovery: FAILED: $1. Power off in five minutes."
    sleep 300
    poweroff -f
}

# Buses appear with their drivers, so there is more to load after each round.
for round in 1 2 3 4; do
    find /sys/devices -name modalias -exec cat {} + 2>/dev/null | sort -u | while read -r alias; do
        modprobe -q "$alias" 2>/dev/null
    done
    sleep 1
done
for module in sd_mod af_packet efivarfs; do modprobe -q $module 2>/dev/null; done
[ -d /sys/firmware/efi/efivars ] && mount -t efivarfs -o ro efivarfs /sys/firmware/efi/efivars 2>/dev/null

nics=""
for nic in /sys/class/net/*; do
    [ -e "$nic/device" ] || continue
    ip link set "${nic##*/}" up
    if [ "$(cat "$nic/address")" = "$bootif" ]; then nics="${nic##*/} $nics"; else nics="$nics ${nic##*/}"; fi
done
[ -n "$nics" ] || failed "no NIC found: its driver is not in this image"
sleep 3

leased=""
for round in 1 2 3; do
    for nic in $nics; do
        if udhcpc -i "$nic" -n -q -f -t 6 -T 3 -s /etc/udhcpc.sh; then leased=$nic; break 2; fi
    done
done
[ -n "$leased" ] || failed "no address by DHCP on $nics"

base=${url%%/discovery/*}
for try in 1 2 3 4 5; do
    wget -q -T 20 -O /tmp/agent.pyz "$base/agent/pxeforge-agent.pyz" && break
    sleep 5
done
echo "$sha256  /tmp/agent.pyz" | sha256sum -c - >/dev/null || failed "no agent, or not the one meant"

python3.13 -B -c 'import sys
sys.path.insert(0, "/tmp/agent.pyz")
from pxeforge.agent.discovery import main
sys.exit(main(sys.argv[1:]))' "$url" /run/then || failed "nothing was reported"
ends "$(cat /run/then)"
"""

DHCP_SCRIPT: Final = r"""#!/usr/bin/busybox sh
[ "$1" = bound ] || [ "$1" = renew ] || exit 0
ip address flush dev "$interface"
ip address add "$ip/${mask:-24}" dev "$interface"
for gateway in $router; do ip route add default via "$gateway" dev "$interface"; break; done
exit 0
"""
