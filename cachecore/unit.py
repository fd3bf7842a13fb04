"""The unit of work: what one transaction has written, as plain data.

Nothing is forgotten when a savepoint is rolled back: outdating a row that did not change costs one query, keeping one
that did would be a lie.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from cachecore.entries import TOKEN_BYTES
from cachecore.errors import ClosedError, ConfigurationError
from cachecore.policy import Policy


def new_token() -> bytes:
    """A random token. Never a counter: counters start again when a server or a process does."""
    return os.urandom(TOKEN_BYTES)


class Unit:
    """The keys one transaction outdates, its token, and how far it has come.

    It is open, then prepared (its holds are placed), and in the end ended. Touching more makes a prepared unit open
    again, with the same token.
    """

    __slots__ = ("_keys", "_policy", "ended", "journal", "label", "prepare_by", "token", "was_prepared")

    def __init__(self, label: str = "", journal: Callable[[Sequence[str]], Any] | None = None) -> None:
        self.label = label
        """Names this unit in events."""
        self.journal = journal
        """Writes keys into the journal in the open transaction; None: there is no journal."""
        self.token = new_token()
        self.ended = False
        self.was_prepared = False
        """Whether holds may stand somewhere under this unit's token."""
        self.prepare_by: float | None = None
        """Local monotonic time until which the holds are known to stand; None: PREPARE is due."""
        self._keys: dict[str, None] = {}
        self._policy: Policy | None = None

    @property
    def keys(self) -> list[str]:
        """Every key touched so far, in that order."""
        return list(self._keys)

    @property
    def dirty(self) -> bool:
        """Whether anything was touched."""
        return bool(self._keys)

    @property
    def policy(self) -> Policy:
        """The strictest of the policies of what was touched: holds live longest, and one refusal refuses all."""
        return self._policy or Policy()

    def has_written(self, key: str) -> bool:
        """Whether this transaction has written what stands under ``key``."""
        return key in self._keys

    def add(self, keys: Iterable[str], policy: Policy) -> None:
        """Remember that these keys are about to be written.

        Raises ClosedError after the end, and ConfigurationError if the policy is to use a journal and there is none.
        """
        if self.ended:
            raise ClosedError("this unit of work has ended; begin another")
        if policy.unreachable == "journal" and self.journal is None:
            raise ConfigurationError(
                'the policy is unreachable="journal", and this unit of work was begun without one: begin(journal=...)'
            )
        self._keys.update(dict.fromkeys(keys))
        self.prepare_by = None
        if self._policy is None:
            self._policy = policy
        elif self._policy is not policy:
            self._policy = _strictest(self._policy, policy)

    def must_prepare(self, now: float) -> bool:
        """Whether PREPARE is due at local monotonic time ``now``. Raises ClosedError after the end."""
        if self.ended:
            raise ClosedError("this unit of work has ended; begin another")
        due = self.dirty and (self.prepare_by is None or now >= self.prepare_by)
        self.was_prepared = self.was_prepared or due
        return due

    def end(self) -> bool:
        """End the unit; whether there is something to tell the cache. False when it had ended before."""
        if self.ended:
            return False
        self.ended = True
        return self.dirty


_BY_STRICTNESS = ("refuse", "journal", None, "bounded")


def _strictest(one: Policy, other: Policy) -> Policy:
    return one.replace(
        hold_ttl=max(one.hold_ttl, other.hold_ttl),
        commit_margin=max(one.commit_margin, other.commit_margin),
        unreachable=min(one.unreachable, other.unreachable, key=_BY_STRICTNESS.index),
    )
