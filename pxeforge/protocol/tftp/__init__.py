"""TFTP: packets, names and the transfer as a state machine."""
