"""The servers of a fleet, for threads: plans are run over one connection for each thread and server.

If one of the servers that a step concerns cannot be connected nothing is sent to any.
"""

import threading
from collections.abc import Sequence
from typing import Any

from cachecore.backends.redis.link import Link, LinkLost
from cachecore.backends.redis.member import MemberLink, open_member
from cachecore.backends.redis.one_server import Guarded
from cachecore.backends.redis.plan import Call, FleetPlan, NotSent, Outcome, Plan, member_settings, weaknesses
from cachecore.backends.redis.requests import Batch, Replies, leases
from cachecore.backends.redis.settings import Address, Settings
from cachecore.errors import BackendError


class Node(Guarded):
    """One server of a fleet: a connection for each thread."""

    def __init__(self, settings: Settings, plan: FleetPlan, call: Call) -> None:
        super().__init__(member_settings(settings, call))
        self._scout = call.scout
        self._login = plan.scout_login
        self._mine = threading.local()

    def link(self) -> MemberLink:
        """This thread's connection. Raises BackendError."""
        if self.breaker.is_open:
            self.breaker.check()
        link: MemberLink | None = getattr(self._mine, "link", None)
        return link if link is not None and link.is_open else self.new_link()

    def new_link(self) -> MemberLink:
        """A new connection for this thread. Raises BackendError."""
        try:
            link = self._open()
        except BackendError as error:
            raise self.failed(error)
        assert isinstance(link, MemberLink)
        self._mine.link = link
        return link

    def failed(self, error: BackendError) -> BackendError:
        """Tell the breaker; a connection that ended says nothing yet about the server."""
        if not isinstance(error, LinkLost):
            self.breaker.failed(error)
        return error

    def leave_to_parent(self) -> None:
        super().leave_to_parent()
        self._mine = threading.local()

    def close(self) -> None:
        """End the connections of all threads; there will be no new ones."""
        self._end()

    def _new_link(self) -> Link:
        return open_member(self._settings, self.address, self._login, scout=self._scout)


class Fleet:
    """A topology: the servers of ``plan``."""

    together = False
    """Whether a command may be about several keys."""

    def __init__(self, settings: Settings, plan: FleetPlan) -> None:
        self._settings = settings
        self._plan = plan
        self._nodes: dict[tuple[Address, bool], Node] = {}
        self._closed = False
        self.round_trips = 0
        """How many steps have begun, for tests that have a budget."""

    def exchange(self, batch: Batch) -> Replies:
        """The replies to ``batch``. Raises `LinkLost` if the same may be tried once more, or another BackendError."""
        replies: Replies = self._run(self._plan.exchange(batch))
        return replies

    def leases(self, keys: Sequence[str], token: bytes, ttl: float) -> Replies:
        """The replies to `requests.leases`. Raises as `exchange`."""
        return self.exchange(leases(keys, token, ttl))

    def clear(self) -> None:
        """Empty all servers."""
        self._run(self._plan.clear())

    def diagnose(self) -> list[str]:
        """What in the servers' settings weakens the promise."""
        return weaknesses(self._settings, self._run(self._plan.primaries()))

    def close(self) -> None:
        """End the connections of all threads; there will be no new ones."""
        self._closed = True
        for node in list(self._nodes.values()):
            node.close()

    def step(self, calls: list[Call]) -> list[Outcome]:
        """The replies to each call, or its error."""
        if len(calls) == 1:
            return [self._one(calls[0])]
        outcomes: list[Outcome] = [NotSent() for _ in calls]
        chosen: list[tuple[int, Node, MemberLink]] = []
        failed = False
        for at, call in enumerate(calls):
            node = self._node(call)
            try:
                chosen.append((at, node, node.link()))
            except BackendError as error:
                outcomes[at] = error
                failed |= not call.scout
        if failed:
            return outcomes
        self.round_trips += 1
        unread: list[MemberLink] = []
        try:
            sent = [(at, node, self._sent(node, link, calls[at], unread)) for at, node, link in chosen]
            for at, node, link in sent:
                if isinstance(link, BackendError):
                    outcomes[at] = link
                    continue
                try:
                    outcomes[at] = link.receive_in_time()
                except BackendError as error:
                    outcomes[at] = node.failed(error)
                else:
                    unread.remove(link)
                    if node.breaker.is_open:
                        node.breaker.succeeded()
        finally:
            # The replies that may still come, after an interrupt, are nobody's. (Most of these are closed already.)
            for link in unread:
                link.close()
        return outcomes

    def _one(self, call: Call) -> Outcome:
        node = self._node(call)
        try:
            link = node.link()
        except BackendError as error:
            return error
        self.round_trips += 1
        while True:
            try:
                replies = link.exchange(call.batch)
            except LinkLost as lost:
                if lost.sent:
                    return lost
            except BackendError as error:
                return node.failed(error)
            else:
                if node.breaker.is_open:
                    node.breaker.succeeded()
                return replies
            # It had ended while it was idle.
            try:
                link = node.new_link()
            except BackendError as error:
                return error

    def _sent(self, node: Node, link: MemberLink, call: Call, unread: list[MemberLink]) -> MemberLink | BackendError:
        """The link over which the call was sent: another if this one had ended while it was idle."""
        while True:
            unread.append(link)
            try:
                link.send(call.batch)
                return link
            except LinkLost as lost:
                if lost.sent:
                    return lost
            except BackendError as error:
                return node.failed(error)
            try:
                link = node.new_link()
            except BackendError as error:
                return error

    def _run(self, plan: Plan) -> Any:
        try:
            calls = next(plan)
            while True:
                calls = plan.send(self.step(calls))
        except StopIteration as stop:
            return stop.value

    def _node(self, call: Call) -> Node:
        known = (call.address, call.scout)
        node = self._nodes.get(known)
        if node is None:
            members = self._plan.members
            for other in list(self._nodes):
                if other[0] not in members:
                    # Its connections end with their last use.
                    self._nodes.pop(other, None)
            # Of two threads that make one, one wins: there is one breaker for each server.
            node = self._nodes.setdefault(known, Node(self._settings, self._plan, call))
            if self._closed:
                node.close()
        return node
