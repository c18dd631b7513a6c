"""What a user of the admin plane may do: three roles, each of which covers the ones before it."""

from __future__ import annotations

from enum import StrEnum


class UserRole(StrEnum):
    VIEWER = "viewer"  # reads everything but secrets
    OPERATOR = "operator"  # also hosts, arming, roles of hosts, deploys, profiles, images
    ADMIN = "admin"  # also users, tokens of others, secrets, removal of images

    @property
    def _rank(self) -> int:
        return list(UserRole).index(self)

    def covers(self, other: UserRole) -> bool:
        """Whether who has this role may do what `other` may."""
        return self._rank >= other._rank

    def at_most(self, other: UserRole) -> UserRole:
        """The lesser of the two."""
        return self if other.covers(self) else other
