"""What is known of one server, whether its callers block or await."""

import ssl
from collections.abc import Callable

from cachecore.backends.breaker import Breaker
from cachecore.backends.memcached.lives import Lives
from cachecore.backends.memcached.settings import Address, Settings


class AnyServer:
    """One server. ``exchanges`` counts round trips, greetings aside; ``clock`` gives seconds that never go back."""

    def __init__(
        self, address: Address, settings: Settings, context: ssl.SSLContext | None, clock: Callable[[], float]
    ) -> None:
        self.address = address
        self.exchanges: int = 0
        self.breaker = Breaker(f"memcached at {address}", settings.breaker_window, clock)
        self.lives = Lives()
        self._settings = settings
        self._context = context
        self._clock = clock
