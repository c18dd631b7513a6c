#!/bin/sh
# First script of an install, in d-i's busybox sh. Whatever fails here is logged and passed over.
log() { logger -t pxeforge "early: $*"; }

wget -q -T 10 -t 2 -O /dev/null --post-data 'installer started' 'http://192.0.2.1:8080/installer/0123456789abcdef0123456789abcdef/progress?stage=early' || log "could not report"
# The short list of udebs has no disk drivers: they are named by the kernel's version.
anna-install "scsi-modules-$(uname -r)-di" || log "no scsi-modules for $(uname -r)"
# These hooks would add firmware, guest tools and keyboard tables to a virtual machine.
rm -f "${ROOT:-}/usr/lib/finish-install.d/08hw-detect" "${ROOT:-}/usr/lib/post-base-installer.d/50install-firmware" \
    "${ROOT:-}/usr/lib/base-installer.d/20console-setup"
# A mounted medium, an old array or an old volume group would keep partman from its disk.
umount /media 2>/dev/null && log "unmounted /media"
swapoff -a 2>/dev/null
if command -v mdadm >/dev/null; then mdadm --stop --scan || log "could not stop every md array"; fi
if command -v vgchange >/dev/null; then vgchange -a n || log "could not stop every volume group"; fi
exit 0
