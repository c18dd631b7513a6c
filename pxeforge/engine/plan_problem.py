"""Why there is no plan."""

from __future__ import annotations


class PlanProblem(Exception):
    """Roles, hosts and variables do not make a plan; the message says what to change."""
