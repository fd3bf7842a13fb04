"""Who is asking, without a query."""

from typing import Any

from cachecore.integrations.django import from_cache
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import User


class CachedUsers(ModelBackend):
    """Django's backend, which reads the user of each request from the cache.

    A user whose password or permissions change, or who is deactivated, is as fresh as from the database: no read that
    starts after a commit has returned sees older data.
    """

    def get_user(self, user_id: Any) -> User | None:
        """The user of a session."""
        try:
            user = from_cache(User).get_from_cache(pk=user_id)
        except User.DoesNotExist:
            return None
        return user if self.user_can_authenticate(user) else None
