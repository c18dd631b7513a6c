"""Use cases: what an operator or a host can ask for."""
