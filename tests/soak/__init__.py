"""Hosts, operators and accidents at random on a running server, and what must hold: `python -m tests.soak`."""
