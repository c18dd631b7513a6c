"""pxeforge: from bare racks to a running cloud, beside the DHCP server you already have."""

__version__ = "0.1.0"
