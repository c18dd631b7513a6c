"""Bytes to meaning and back, sans-IO: DHCP and TFTP."""
