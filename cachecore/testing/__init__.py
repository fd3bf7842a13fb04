"""For tests: a fake backend, a manual clock, the conformance suite for backends, and the explorer of the protocol.

`BackendSuite` and `AsyncBackendSuite` need pytest and hypothesis and are imported when they are asked for.
``python -m cachecore.testing.explore`` prints what the explorer finds.
"""

import sys
from typing import TYPE_CHECKING, Any

from cachecore.testing.async_fake import AsyncFakeBackend
from cachecore.testing.clock import ManualClock
from cachecore.testing.fake import Call, FakeBackend

if TYPE_CHECKING:
    from cachecore.testing.suite import AsyncBackendSuite, BackendSuite

__all__ = ["AsyncBackendSuite", "AsyncFakeBackend", "BackendSuite", "Call", "FakeBackend", "ManualClock"]


def __getattr__(name: str) -> Any:
    if name in ("AsyncBackendSuite", "BackendSuite"):
        import pytest

        # So that a failing assertion of the suite shows its values.
        if "cachecore.testing.suite" not in sys.modules:
            pytest.register_assert_rewrite("cachecore.testing.suite", "cachecore.testing.suite_threads")
        from cachecore.testing import suite

        return getattr(suite, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
