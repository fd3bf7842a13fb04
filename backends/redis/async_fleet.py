"""The servers of a fleet, for event loops: plans are run over a pool of connections for each loop and server."""

import asyncio
from typing import Any

from cachecore.backends.redis.async_one_server import AsyncOneServer
from cachecore.backends.redis.link import Link, LinkLost
from cachecore.backends.redis.member import open_member
from cachecore.backends.redis.plan import Call, FleetPlan, Outcome, Plan, member_settings, weaknesses
from cachecore.backends.redis.requests import Batch, Replies
from cachecore.backends.redis.settings import Address, Settings
from cachecore.errors import BackendError


class AsyncNode(AsyncOneServer):
    """One server of a fleet."""

    def __init__(self, settings: Settings, plan: FleetPlan, call: Call) -> None:
        super().__init__(member_settings(settings, call))
        self._scout = call.scout
        self._login = plan.scout_login

    async def outcome(self, batch: Batch) -> Outcome:
        """The replies, or the error."""
        while True:
            try:
                return await self.exchange(batch)
            except LinkLost as lost:
                if lost.sent:
                    return lost
                # It had ended while it was idle; another link, or at last a new one, will do.
            except BackendError as error:
                return error

    def end(self) -> None:
        """As close, without waiting."""
        self._end()

    def _new_link(self) -> Link:
        return open_member(self._settings, self.address, self._login, scout=self._scout)


class AsyncFleet:
    """A topology: the servers of ``plan``."""

    together = False
    """Whether a command may be about several keys."""

    def __init__(self, settings: Settings, plan: FleetPlan) -> None:
        self._settings = settings
        self._plan = plan
        self._nodes: dict[tuple[Address, bool], AsyncNode] = {}
        self._closed = False
        self.round_trips = 0
        """How many steps have begun, for tests that have a budget."""

    async def exchange(self, batch: Batch) -> Replies:
        """The replies to ``batch``. Raises `LinkLost` if the same may be tried once more, or another BackendError."""
        replies: Replies = await self._run(self._plan.exchange(batch))
        return replies

    async def clear(self) -> None:
        """Empty all servers."""
        await self._run(self._plan.clear())

    async def diagnose(self) -> list[str]:
        """What in the servers' settings weakens the promise."""
        addresses = await self._run(self._plan.primaries())
        return await asyncio.get_running_loop().run_in_executor(None, weaknesses, self._settings, addresses)

    async def close(self) -> None:
        """End the connections of all loops; there will be no new ones."""
        self._closed = True
        for node in list(self._nodes.values()):
            node.end()

    async def step(self, calls: list[Call]) -> list[Outcome]:
        """The replies to each call, or its error."""
        self.round_trips += 1
        if len(calls) == 1:
            return [await self._node(calls[0]).outcome(calls[0].batch)]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._node(call).outcome(call.batch)) for call in calls]
        return [task.result() for task in tasks]

    async def _run(self, plan: Plan) -> Any:
        try:
            calls = next(plan)
            while True:
                calls = plan.send(await self.step(calls))
        except StopIteration as stop:
            return stop.value

    def _node(self, call: Call) -> AsyncNode:
        known = (call.address, call.scout)
        node = self._nodes.get(known)
        if node is None:
            members = self._plan.members
            for other in list(self._nodes):
                if other[0] not in members:
                    # Its connections end with their last use.
                    self._nodes.pop(other, None)
            node = self._nodes.setdefault(known, AsyncNode(self._settings, self._plan, call))
            if self._closed:
                node.end()
        return node
