#!/bin/sh
# Last script of an install, in d-i's busybox sh; the new system is in $TARGET. It never fails the install.
TARGET=${TARGET:-/target}
TMP=${TMP:-/tmp}
export TARGET
FAILED_URL='http://192.0.2.1:8080/installer/0123456789abcdef0123456789abcdef/failed?stage=late'
PROGRESS_URL='http://192.0.2.1:8080/installer/0123456789abcdef0123456789abcdef/progress?stage=late'
FINISHED_URL=http://192.0.2.1:8080/installer/0123456789abcdef0123456789abcdef/finished
AGENT_DIR=/usr/local/lib/pxeforge
AGENT=$AGENT_DIR/pxeforge-agent.pyz
TRIES=5
mkdir -p "$TARGET/var/log"

failed() {
    echo "FAILED: $*"
    logger -t pxeforge "late: FAILED: $*"
    wget -q -T 10 -t 3 -O /dev/null --post-data "$*" "$FAILED_URL" || echo "could not report"
}

pause() { sleep $(($1 * 3 + 4)); }

in_target() {
    if command -v in-target >/dev/null; then in-target "$@"; else chroot "$TARGET" "$@"; fi
}

ends=
# name, text; a syntax error in the text stays in its own shell.
snippet() {
    printf '%s\n' "$2" >"$TMP/pxeforge-snippet"
    (cd / && sh "$TMP/pxeforge-snippet" </dev/null)
    rc=$?
    echo "snippet $1: rc=$rc"
    ends="$ends $1 rc=$rc;"
    if [ "$rc" -ne 0 ]; then failed "late snippet $1 ended with $rc"; fi
}

# Which snippets ran, in their order, and how they ended.
report_snippets() {
    wget -q -T 10 -t 3 -O /dev/null --post-data "late snippets:${ends%;}" "$PROGRESS_URL" || echo "could not report"
}

# What is left is that the new system registers.
finished() {
    wget -q -T 10 -t 3 -O /dev/null --post-data "the installer has finished" "$FINISHED_URL" || echo "could not report"
}

# name, crypt hash or *
account() {
    if ! chroot "$TARGET" id "$1" >/dev/null 2>&1; then
        chroot "$TARGET" useradd -m -s /bin/bash -p "$2" "$1" || failed "user $1 could not be created"
    fi
}

# name, lines of authorized_keys
ssh_keys() {
    home=$(sed -n "s/^$1:[^:]*:[^:]*:[^:]*:[^:]*:\([^:]*\):.*/\1/p" "$TARGET/etc/passwd")
    if [ -z "$home" ]; then failed "ssh keys: user $1 has no home"; return; fi
    mkdir -p "$TARGET$home/.ssh" && printf '%s\n' "$2" >"$TARGET$home/.ssh/authorized_keys" &&
        chmod 700 "$TARGET$home/.ssh" && chmod 600 "$TARGET$home/.ssh/authorized_keys" &&
        chroot "$TARGET" chown -R "$1:" "$home/.ssh" || failed "ssh keys of user $1 could not be written"
}

fetch_agent() {
    mkdir -p "$TARGET$AGENT_DIR"
    try=1
    while [ "$try" -le "$TRIES" ]; do
        if wget -q -T 30 -t 1 -O "$TARGET$AGENT.new" http://192.0.2.1:8080/agent/pxeforge-agent.pyz &&
            echo 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa  '"$TARGET$AGENT.new" | sha256sum -c - >/dev/null; then
            chmod 755 "$TARGET$AGENT.new" && mv "$TARGET$AGENT.new" "$TARGET$AGENT"
            return
        fi
        echo "agent: try $try of $TRIES failed"
        rm -f "$TARGET$AGENT.new"
        pause "$try"
        try=$((try + 1))
    done
    return 1
}

register() {
    try=1
    while [ "$try" -le "$TRIES" ]; do
        if in_target python3 "$AGENT" register --url http://192.0.2.1:8080/installer/0123456789abcdef0123456789abcdef/register; then
            echo "registered"
            return
        fi
        echo "register: try $try of $TRIES failed"
        pause "$try"
        try=$((try + 1))
    done
    return 1
}


# The MAC of the NIC that netbooted: BOOTIF=01-52-54-00-12-34-56 on the kernel line, or the only NIC with a default route.
boot_mac() {
    mac=$(tr ' ' '\n' <"${PROC:-/proc}/cmdline" | sed -n 's/^BOOTIF=01-//p' | tail -n 1 | tr '-' ':' | tr 'A-F' 'a-f')
    if [ -z "$mac" ]; then
        nic=$(ip -4 route show default 2>/dev/null | sed -n 's/.* dev \([^ ]*\).*/\1/p' | head -n 1)
        if [ -n "$nic" ]; then mac=$(cat "${SYS:-/sys}/class/net/$nic/address"); fi
    fi
    printf '%s\n' "$mac"
}

# name, text of a file of systemd-networkd
network_file() {
    printf '%s' "$2" | sed "s/@BOOT_MAC@/$BOOT_MAC/" >"$TARGET/etc/systemd/network/$1.new" &&
        mv "$TARGET/etc/systemd/network/$1.new" "$TARGET/etc/systemd/network/$1"
}

# From the next boot on systemd-networkd has the network; what the installer wrote for ifupdown is kept aside.
network() {
    if [ ! -x "$TARGET/lib/systemd/systemd-networkd" ] && [ ! -x "$TARGET/usr/lib/systemd/systemd-networkd" ]; then
        failed "network: the new system has no systemd-networkd, so it keeps what the installer set up"
        return
    fi
    BOOT_MAC=$(boot_mac)
    if [ -z "$BOOT_MAC" ]; then failed "network: the NIC that netbooted was not found"; return; fi
    mkdir -p "$TARGET/etc/systemd/network" || return
    network_file 50-lan1.network '[Match]
PermanentMACAddress=@BOOT_MAC@

[Link]
RequiredForOnline=enslaved

[Network]
Bond=bond0
LinkLocalAddressing=no
IPv6AcceptRA=no
' || { failed "network: 50-lan1.network could not be written"; return; }
    network_file 50-lan2.network '[Match]
PermanentMACAddress=52:54:00:00:00:02

[Link]
RequiredForOnline=enslaved

[Network]
Bond=bond0
LinkLocalAddressing=no
IPv6AcceptRA=no
' || { failed "network: 50-lan2.network could not be written"; return; }
    network_file 30-bond0.netdev '[NetDev]
Name=bond0
Kind=bond

[Bond]
Mode=802.3ad
MIIMonitorSec=100ms
LACPTransmitRate=fast
TransmitHashPolicy=layer3+4
' || { failed "network: 30-bond0.netdev could not be written"; return; }
    network_file 30-bond0.network '[Match]
Name=bond0

[Link]
RequiredForOnline=carrier

[Network]
VLAN=mgmt
VLAN=storage
LinkLocalAddressing=no
IPv6AcceptRA=no
' || { failed "network: 30-bond0.network could not be written"; return; }
    network_file 40-mgmt.netdev '[NetDev]
Name=mgmt
Kind=vlan

[VLAN]
Id=10
' || { failed "network: 40-mgmt.netdev could not be written"; return; }
    network_file 40-mgmt.network '[Match]
Name=mgmt

[Network]
DHCP=no
Address=192.0.2.5/24
Gateway=192.0.2.1
DNS=192.0.2.1
DNS=192.0.2.2
Domains=rack.example.org
IPv6AcceptRA=no

[Route]
Destination=198.51.100.0/24
Gateway=192.0.2.254
' || { failed "network: 40-mgmt.network could not be written"; return; }
    network_file 40-storage.netdev '[NetDev]
Name=storage
Kind=vlan
MTUBytes=9000

[VLAN]
Id=20
' || { failed "network: 40-storage.netdev could not be written"; return; }
    network_file 40-storage.network '[Match]
Name=storage

[Link]
MTUBytes=9000
RequiredForOnline=enslaved

[Network]
Bridge=br-storage
LinkLocalAddressing=no
IPv6AcceptRA=no
' || { failed "network: 40-storage.network could not be written"; return; }
    network_file 20-br-storage.netdev '[NetDev]
Name=br-storage
Kind=bridge
MTUBytes=9000

[Bridge]
STP=no
ForwardDelaySec=0
' || { failed "network: 20-br-storage.netdev could not be written"; return; }
    network_file 20-br-storage.network '[Match]
Name=br-storage

[Link]
MTUBytes=9000

[Network]
DHCP=no
Address=203.0.113.5/24
DNS=192.0.2.1
DNS=192.0.2.2
Domains=rack.example.org
IPv6AcceptRA=no
' || { failed "network: 20-br-storage.network could not be written"; return; }
    if [ -f "$TARGET/etc/network/interfaces" ]; then
        mv "$TARGET/etc/network/interfaces" "$TARGET/etc/network/interfaces.installer"
        printf 'auto lo\niface lo inet loopback\n' >"$TARGET/etc/network/interfaces"
    fi
    if ! in_target systemctl enable systemd-networkd; then failed "network: systemd-networkd could not be enabled"; return; fi
    echo "network: 10 files for systemd-networkd"
}

main() {
    # The name must lead to the real address, not to the loopback.
    sed -i '/^127\.0\.1\.1[[:space:]]/d' "$TARGET/etc/hosts" || failed "hosts file could not be changed"
    # Replaced, not written through: it may be a link of a resolver that does not run here.
    printf '%s' 'nameserver 192.0.2.1
nameserver 192.0.2.2
search rack.example.org
' >"$TARGET/etc/resolv.conf.pxeforge" &&
        mv "$TARGET/etc/resolv.conf.pxeforge" "$TARGET/etc/resolv.conf" || failed "resolv.conf could not be written"
    network
    account ops '*'
    ssh_keys ops 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJ ops'
    chroot "$TARGET" usermod -a -G sudo ops || failed "user "ops" could not join sudo"
    printf '%s\n' 'ops ALL=(ALL) NOPASSWD: ALL' >"$TARGET/etc/sudoers.d/pxeforge-"ops &&
        chmod 440 "$TARGET/etc/sudoers.d/pxeforge-"ops || failed "sudo rule could not be written"
    finished
    if ! fetch_agent; then failed "the agent could not be fetched or has a wrong digest"; return; fi
    if ! register; then failed "the host could not be registered after $TRIES tries"; fi
}

# Progress goes to the log of the new system; it holds no secret.
main >>"$TARGET/var/log/pxeforge-late.log" 2>&1
exit 0
