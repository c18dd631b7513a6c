"""Thin loops around protocol: DHCP, TFTP, syslog."""
