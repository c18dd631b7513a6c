#!/bin/sh
# Last script of an install, in Red Hat's installer; the new system is in $TARGET. It never fails the install.
TARGET=${TARGET:-${ANA_INSTALL_PATH:-/mnt/sysimage}}
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

# name, text of a key file of NetworkManager
network_file() {
    (umask 077 && printf '%s' "$2" | sed "s/@BOOT_MAC@/$BOOT_MAC/" >"$CONNECTIONS/.$1.new") &&
        mv "$CONNECTIONS/.$1.new" "$CONNECTIONS/$1"
}

# From the next boot on these files have the network; what the installer wrote is kept aside.
network() {
    CONNECTIONS=$TARGET/etc/NetworkManager/system-connections
    BOOT_MAC=$(boot_mac)
    if [ -z "$BOOT_MAC" ]; then failed "network: the NIC that netbooted was not found"; return; fi
    mkdir -p "$CONNECTIONS" "$TARGET/root/network-of-the-installer" || return
    for old in "$CONNECTIONS"/* "$TARGET/etc/sysconfig/network-scripts/ifcfg-"*; do
        case $old in */ifcfg-lo) ;; *) if [ -f "$old" ]; then mv "$old" "$TARGET/root/network-of-the-installer/"; fi ;; esac
    done
    network_file lan1.nmconnection '[connection]
id=lan1
uuid=8eba9963-58f5-5470-b901-701ce7d72197
type=ethernet
autoconnect=true
master=63bfcc7c-14fd-5b0e-9349-aa452e5c20df
slave-type=bond

[ethernet]
mac-address=@BOOT_MAC@
' || { failed "network: lan1.nmconnection could not be written"; return; }
    network_file lan2.nmconnection '[connection]
id=lan2
uuid=c566605b-13fd-5577-aed9-82b4c85d3c4e
type=ethernet
autoconnect=true
master=63bfcc7c-14fd-5b0e-9349-aa452e5c20df
slave-type=bond

[ethernet]
mac-address=52:54:00:00:00:02
' || { failed "network: lan2.nmconnection could not be written"; return; }
    network_file bond0.nmconnection '[connection]
id=bond0
uuid=63bfcc7c-14fd-5b0e-9349-aa452e5c20df
type=bond
autoconnect=true
interface-name=bond0

[bond]
mode=802.3ad
miimon=100
lacp_rate=fast
xmit_hash_policy=layer3+4

[ipv4]
method=disabled

[ipv6]
method=ignore
' || { failed "network: bond0.nmconnection could not be written"; return; }
    network_file mgmt.nmconnection '[connection]
id=mgmt
uuid=3937c8eb-6b5f-533a-8ae9-27aeb1c6fc5f
type=vlan
autoconnect=true
interface-name=mgmt

[vlan]
id=10
parent=bond0

[ipv4]
method=manual
address1=192.0.2.5/24
gateway=192.0.2.1
route1=198.51.100.0/24,192.0.2.254
dns=192.0.2.1;192.0.2.2;
dns-search=rack.example.org;

[ipv6]
method=ignore
' || { failed "network: mgmt.nmconnection could not be written"; return; }
    network_file storage.nmconnection '[connection]
id=storage
uuid=f2fcbe66-5c7f-5659-9e07-e15fdd75adab
type=vlan
autoconnect=true
interface-name=storage
master=962b2915-ae93-5142-9230-67d1f9e0d42d
slave-type=bridge

[ethernet]
mtu=9000

[vlan]
id=20
parent=bond0
' || { failed "network: storage.nmconnection could not be written"; return; }
    network_file br-storage.nmconnection '[connection]
id=br-storage
uuid=962b2915-ae93-5142-9230-67d1f9e0d42d
type=bridge
autoconnect=true
interface-name=br-storage

[ethernet]
mtu=9000

[bridge]
stp=false

[ipv4]
method=manual
address1=203.0.113.5/24
dns=192.0.2.1;192.0.2.2;
dns-search=rack.example.org;

[ipv6]
method=ignore
' || { failed "network: br-storage.nmconnection could not be written"; return; }
    echo "network: 6 connections for NetworkManager"
}

main() {
    network
    account ops '*'
    ssh_keys ops 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJ ops'
    chroot "$TARGET" usermod -a -G wheel ops || failed "user "ops" could not join wheel"
    printf '%s\n' 'ops ALL=(ALL) NOPASSWD: ALL' >"$TARGET/etc/sudoers.d/pxeforge-"ops &&
        chmod 440 "$TARGET/etc/sudoers.d/pxeforge-"ops || failed "sudo rule could not be written"
    # Files that were written from outside the new system lack their SELinux labels.
    if [ -x "$TARGET/sbin/restorecon" ]; then chroot "$TARGET" /sbin/restorecon -R /etc /root /home /usr/local; fi
    finished
    if ! fetch_agent; then failed "the agent could not be fetched or has a wrong digest"; return; fi
    if ! register; then failed "the host could not be registered after $TRIES tries"; fi
}

# %post keeps this in /root/ks-post.log of the new system; it holds no secret.
main 2>&1
exit 0
