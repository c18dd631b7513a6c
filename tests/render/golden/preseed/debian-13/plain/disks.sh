#!/bin/sh
# The disk guard, run by partman/early_command in d-i's busybox sh, before partman opens a disk.
# It picks the install disk (two for RAID 1) by the rules below, never one that is kept for a role, refuses a disk that
# carries data, and writes to no disk but what it picked, and only when that may be wiped. Refusal: report, power off.
set -u
FAILED_URL='http://192.0.2.1:8080/installer/0123456789abcdef0123456789abcdef/failed?stage=disks'
PROGRESS_URL='http://192.0.2.1:8080/installer/0123456789abcdef0123456789abcdef/progress?stage=disks'
WIPE_ALL=no
SYS=${SYS:-/sys}
DEV=${DEV:-/dev}
TMP=${TMP:-/tmp}

# One serial, by-path name or device per line that may be wiped.
wipe_list() {
    :
}

# A disk with one of these words in a label or in the name of a volume group is wiped only by its serial.
KEEP_LABELS='keep|ceph|swift|cinder|gluster|moosefs'

# Disks that are kept for roles: says for which, when the disk is one of them.
reserved_for() {
    :
}

log() { logger -t pxeforge "disks: $*"; echo "disks: $*"; }

refuse() {
    log "refused: $*"
    wget -q -T 10 -t 3 -O /dev/null --post-data "$*" "$FAILED_URL" || log "could not report"
    sync
    poweroff
    sleep 30
    poweroff -f
    exit 1
}

# Only debian-installer has list-devices.
list_disks() {
    if command -v list-devices >/dev/null; then
        list-devices disk
        return
    fi
    for block in "$SYS/block/"*; do
        case ${block##*/} in
        loop* | ram* | zram* | fd* | sr* | dm-* | md* | nbd* | mmcblk*boot* | mmcblk*rpmb*) ;;
        *) echo "$DEV/${block##*/}" ;;
        esac
    done
}

# A whole disk that is an LVM volume is missing in list-devices: it must be seen, to be refused.
candidates() {
    {
        list_disks
        if command -v pvs >/dev/null; then pvs --noheadings -o pv_name 2>/dev/null; fi
    } | while read -r device; do
        if [ -d "$SYS/block/${device##*/}" ]; then echo "$DEV/${device##*/}"; fi
    done | awk '!seen[$0]++'
}

# The text of a file in sysfs, trimmed; always whole lines (some drivers write no line end).
attribute() {
    if [ -r "$1" ]; then
        text=$(sed 's/^[[:space:]]*//; s/[[:space:]]*$//' "$1" 2>/dev/null)
        if [ -n "$text" ]; then printf '%s\n' "$text"; fi
    fi
}
size_bytes() { sectors=$(attribute "$SYS/class/block/${1##*/}/size"); echo $((${sectors:-0} * 512)); }

# All names under which an operator may know the disk, one per line (/dev/vda: virtual disks may lack a serial).
names_of() {
    block=$SYS/block/${1##*/}
    echo "/dev/${1##*/}"
    for file in serial device/serial device/wwid wwid; do attribute "$block/$file"; done
    udevadm info -q property -n "$1" 2>/dev/null |
        sed -n 's/^ID_SERIAL_SHORT=//p; s/^ID_SERIAL=//p; s/^ID_SCSI_SERIAL=//p; s/^ID_WWN=//p; s/^ID_PATH=//p'
}

# disk, kind, value, smallest size, largest size (0: any)
rule_matches() {
    block=$SYS/block/${1##*/}
    if [ "$(attribute "$block/ro")" = 1 ]; then return 1; fi
    bytes=$(size_bytes "$1")
    if [ "$bytes" -eq 0 ] || [ "$bytes" -lt "$4" ]; then return 1; fi
    if [ "$5" -gt 0 ] && [ "$bytes" -gt "$5" ]; then return 1; fi
    case $2 in
    first | size) [ "$(attribute "$block/removable")" != 1 ] ;;
    serial) names_of "$1" | grep -Fqx -e "$3" ;;
    by-path) [ "$(readlink -f "$DEV/disk/by-path/$3")" = "$(readlink -f "$1")" ] ;;
    name) [ "${1##*/}" = "${3##*/}" ] ;;
    *) return 1 ;;
    esac
}

partitions_of() {
    for file in "$SYS/block/${1##*/}/"*/partition; do
        if [ -e "$file" ]; then
            folder=${file%/partition}
            echo "$DEV/${folder##*/}"
        fi
    done
}

# Says what blkid finds on a disk or partition; says nothing when there is nothing.
signature() {
    found=$(blkid -p -o export "$1" 2>/dev/null)
    case $? in
    0) ;;
    2) return ;;
    *) echo "something blkid cannot tell apart or read"; return ;;
    esac
    kind=$(printf '%s\n' "$found" | sed -n 's/^TYPE=//p')
    label=$(printf '%s\n' "$found" | sed -n 's/^LABEL=//p')
    if [ -n "$kind" ]; then echo "$kind${label:+ labelled $label}"; fi
}

has_table() { blkid -p -o export "$1" 2>/dev/null | grep -q '^PTTYPE='; }
is_extended() { blkid -p -o export "$1" 2>/dev/null | grep -Eq '^PART_ENTRY_TYPE=0x(5|f|85)$'; }
starts_with_zeros() { [ "$(dd if="$1" bs=65536 count=16 2>/dev/null | tr -d '\000' | wc -c)" -eq 0 ]; }

# Says which data the disk carries; says nothing for a disk that is blank or has an empty partition table.
data_on() {
    for holder in "$SYS/block/${1##*/}/holders/"* "$SYS/block/${1##*/}/"*/holders/*; do
        if [ -e "$holder" ]; then echo "in use by ${holder##*/}"; fi
    done
    what=$(signature "$1")
    if [ -n "$what" ]; then echo "$what"; fi
    partitions=$(partitions_of "$1")
    for part in $partitions; do
        what=$(signature "$part")
        if [ -n "$what" ]; then
            echo "${part##*/}: $what"
        elif ! is_extended "$part" && ! starts_with_zeros "$part"; then
            echo "${part##*/}: data of unknown kind"
        fi
    done
    if [ -z "$partitions" ] && [ -z "$(signature "$1")" ] && ! has_table "$1" && ! starts_with_zeros "$1"; then
        echo "data of unknown kind"
    fi
}

# Everything by which somebody may have named what lies on a disk or partition.
labels_of() {
    blkid -p -o export "$1" 2>/dev/null | sed -n 's/^TYPE=//p; s/^LABEL=//p; s/^PART_ENTRY_NAME=//p'
    # The text of an LVM volume group begins with its name.
    dd if="$1" bs=65536 count=16 2>/dev/null | tr '\000' '\n' | sed -n 's/^\([A-Za-z0-9+_.-]\{1,127\}\) {$/\1/p'
}

# Says which label keeps the disk from being wiped without its serial.
kept_label() {
    if [ -z "$KEEP_LABELS" ]; then return; fi
    for part in "$1" $(partitions_of "$1"); do labels_of "$part"; done | grep -Ei -e "$KEEP_LABELS" | sort -u | tr '\n' ' '
}

may_wipe() {
    if [ "$WIPE_ALL" = yes ] && [ -z "$(kept_label "$1")" ]; then return 0; fi
    names_of "$1" >"$TMP/pxeforge-names"
    wipe_list | grep -Fqx -f "$TMP/pxeforge-names"
}

# Zeros the first and last 4 MiB, where every signature that blkid knows lies.
zero_ends() {
    sectors=$(($(size_bytes "$1") / 512))
    count=8192
    if [ "$sectors" -lt "$count" ]; then count=$sectors; fi
    dd if=/dev/zero of="$1" bs=512 count="$count" conv=notrunc 2>/dev/null
    dd if=/dev/zero of="$1" bs=512 count="$count" seek=$((sectors - count)) conv=notrunc 2>/dev/null
}

wipe_disk() {
    if command -v vgchange >/dev/null; then vgchange -a n; fi
    for holder in "$SYS/block/${1##*/}/holders/"* "$SYS/block/${1##*/}/"*/holders/*; do
        if [ -e "$holder" ] && command -v mdadm >/dev/null; then mdadm --stop "$DEV/${holder##*/}"; fi
    done
    for holder in "$SYS/block/${1##*/}/holders/"* "$SYS/block/${1##*/}/"*/holders/*; do
        if [ -e "$holder" ]; then refuse "disk $1 is to be wiped but still in use by ${holder##*/}"; fi
    done
    for part in $(partitions_of "$1"); do zero_ends "$part" || refuse "could not wipe $part"; done
    zero_ends "$1" || refuse "could not wipe $1"
    sync
    blockdev --rereadpt "$1" || log "the kernel kept the old partition table of $1"
    if [ -n "$(signature "$1")" ]; then refuse "disk $1 still carries $(signature "$1") after it was wiped"; fi
}

# What the rule found is told in $found, how many would do in $matches. A disk that was taken before is passed over.
pick() {
    found=
    matches=0
    for candidate in $all; do
        case " $taken " in *" $candidate "*) continue ;; esac
        if rule_matches "$candidate" "$@"; then
            kept=$(reserved_for "$candidate")
            if [ -n "$kept" ]; then
                if [ "$1" != first ] && [ "$1" != size ]; then
                    refuse "disk $candidate matches the rule $1=$2 and is kept for $kept: change the rule or reserved_disks"
                fi
                log "$candidate is kept for $kept"
                continue
            fi
            matches=$((matches + 1))
            if [ -z "$found" ]; then found=$candidate; fi
        fi
    done
    if [ -z "$found" ]; then
        refuse "no disk matches the rule $1${2:+=$2} (min $3, max $4 bytes). Disks seen: ${seen:-none}"
    fi
    if [ "$1" = serial ] && [ "$matches" -gt 1 ]; then
        refuse "$matches disks match the rule serial=$2: name one by path. Disks seen: $seen"
    fi
    taken="$taken $found"
}

# Refuses a disk that carries data, or wipes it where that was allowed.
make_free() {
    data=$(data_on "$1")
    if [ -z "$data" ]; then return; fi
    if ! may_wipe "$1"; then
        why="is not marked wipe"
        kept=$(kept_label "$1")
        if [ "$WIPE_ALL" = yes ]; then why="is protected by its label (${kept% }): only its serial number in \`wipe\` would do"; fi
        refuse "disk $1 [$(names_of "$1" | tr '\n' ' ')] carries data ($(printf '%s' "$data" | tr '\n' ';')) and $why"
    fi
    log "wiping $1: $data"
    wipe_disk "$1"
}

all=$(candidates)
seen=
for candidate in $all; do
    seen="$seen$candidate $(size_bytes "$candidate") bytes [$(names_of "$candidate" | tr '\n' ' ')]; "
done
taken=
pick first '' 0 0
disk=$found
for one in $disk; do make_free "$one"; done

RECIPE=''

tell() { debconf-set "$1" "$2" || refuse "could not tell the installer $1"; }

if [ -n "$RECIPE" ]; then
    # What the firmware needs comes first and is partition 1 of each disk.
    if [ -d "$SYS/firmware/efi" ]; then
        system='538 538 1024 free $iflabel{ gpt } $reusemethod{ } method{ efi } format{ } .'
    else
        system='1 1 1 free $iflabel{ gpt } $reusemethod{ } method{ biosgrub } .'
    fi
    tell partman-auto/expert_recipe "pxeforge : $system $RECIPE"
fi
tell partman-auto/disk "$disk"
tell grub-installer/bootdev "$disk"
log "install disk is $disk"
wget -q -T 10 -t 1 -O /dev/null --post-data "install disk is $disk" "$PROGRESS_URL" || log "could not report"
exit 0
