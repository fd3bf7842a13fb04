"""The links to the servers of a fleet.

A `MemberLink` carries entries. Once its server has said that it is not the primary, the next request asks along whether
it is one again, and still in the same reign: a primary that was demoted and promoted again may have lost what it was
told meanwhile. A `ScoutLink` only asks about the fleet: replicas and
sentinels take it too.
"""

import select
import time

from cachecore.backends.redis.link import LOOK_EVERY, Link, LinkLost
from cachecore.backends.redis.requests import Batch, Replies
from cachecore.backends.redis.resp import ErrorReply
from cachecore.backends.redis.settings import Address, Settings

Login = tuple[str | None, str | None] | None


class MemberLink(Link):
    """A link to a primary."""

    def receive_in_time(self) -> Replies:
        """As `receive`, for one of several: the time began when the request was sent, and may be over."""
        try:
            replies, self._early = self._early, None
            return self._rest() if replies is None else replies
        except BaseException as error:
            self.fail(error)

    def taken(self, data: bytes) -> Replies | None:
        replies = super().taken(data)
        if replies is not None:
            for reply in replies:
                if type(reply) is ErrorReply and reply.text.startswith(("MOVED", "READONLY")):
                    self.look_at = float("-inf")
        return replies


class ScoutLink(MemberLink):
    """A link that carries no entries, to a server of any role."""

    def __init__(self, settings: Settings, address: Address, login: Login) -> None:
        super().__init__(settings, address, login, any_role=True)

    def packed(self, batch: Batch) -> bytes:
        now = time.monotonic()
        if self.is_open and now > self.look_at:
            look = select.poll()
            look.register(self.socket, select.POLLIN)
            if look.poll(0):
                raise LinkLost(f"{self.server} closed an idle connection", sent=False)
            # And no more than that: what its reign is matters to nobody.
            self.look_at = now + LOOK_EVERY
        return super().packed(batch)


def open_member(settings: Settings, address: Address, login: Login, *, scout: bool) -> MemberLink:
    """A link of either kind. Raises BackendError."""
    return ScoutLink(settings, address, login) if scout else MemberLink(settings, address)
