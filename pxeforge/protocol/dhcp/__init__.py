"""DHCP and its PXE dialects: bytes ↔ meaning, and what to answer."""
