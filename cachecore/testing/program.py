"""An actor of the explorer as a tree of numbered nodes, one for each list of replies it can have got."""

from collections.abc import Callable, Generator, Hashable
from typing import Any, cast

from cachecore.errors import BackendError
from cachecore.operations import Note, Now, Operation, Sleep
from cachecore.testing.model import Acknowledged, CommitUnknown, Own, Part, Returned, parts_of

Making = Callable[[], Generator[Operation, Any, None]]
Filter = Callable[[Operation], Generator[Operation, Any, Any]]
"""What is done in place of an operation; returns the reply that its flow gets."""
Check = Acknowledged | Returned | Own


class Node:
    """After one list of replies: what the actor asks for next (None: it has ended), and what to check on the way."""

    __slots__ = ("checks", "children", "history", "operation", "parts")

    def __init__(self, program: Making, history: tuple[Any, ...]) -> None:
        self.history = history
        self.children: dict[Hashable, int] = {}
        self.operation, self.checks = _replay(program, history)
        self.parts: tuple[Part, ...] = () if self.operation is None else tuple(parts_of(self.operation))


class Program:
    """The nodes of one actor, made when they are first reached."""

    def __init__(self, making: Making) -> None:
        self._making = making
        self.nodes = [Node(making, ())]

    def after(self, number: int, reply: Any) -> int:
        """The node that follows node ``number`` when its operation is answered by ``reply``.

        An exception class as the reply is raised.
        """
        node = self.nodes[number]
        key = _hashable(reply)
        following = node.children.get(key)
        if following is None:
            following = node.children[key] = len(self.nodes)
            self.nodes.append(Node(self._making, (*node.history, reply)))
        return following


def _hashable(reply: Any) -> Hashable:
    match reply:
        case dict():
            return tuple(sorted(cast("dict[int, object]", reply).items()))
        case list():
            return tuple(cast("list[object]", reply))
        case _:
            hashable: Hashable = reply
            return hashable


def _replay(program: Making, history: tuple[Any, ...]) -> tuple[Operation | None, list[Check]]:
    """Run a new generator through ``history``; what concerns nobody else happens on the way."""
    flow = program()
    checks: list[Check] = []
    operation: Operation | None = None
    try:
        for reply in (None, *history):
            checks = []
            operation = flow.throw(reply()) if isinstance(reply, type) else flow.send(reply)
            while isinstance(operation, Note | Now | Sleep | Check):
                if isinstance(operation, Check):
                    checks.append(operation)
                operation = flow.send(0.0 if isinstance(operation, Now) else None)
    except StopIteration:
        return None, checks
    return operation, checks


def filtered(program: Making, replace: Filter) -> Making:
    """The program with ``replace`` between it and the world: it yields what is asked for in place of each operation."""

    def filtering() -> Generator[Operation, Any, None]:
        flow = program()
        step: Callable[[Any], Operation] = flow.send
        reply: Any = None
        while True:
            try:
                operation = step(reply)
            except StopIteration:
                return
            try:
                reply = yield from replace(operation)
                step = flow.send
            except (BackendError, CommitUnknown) as error:
                reply = error
                step = flow.throw

    return filtering
