"""A clock that moves only when told to, so that no test waits."""


class ManualClock:
    """Seconds that pass only by `advance` and `sleep`; calling it tells the time.

    Hand it to whatever takes a ``clock``, and its `sleep` or `asleep` to whatever takes a ``sleep``.

    start: the first reading, seconds, default 1000. Not 0, so that code that mistakes "no time yet" for 0 shows.
    """

    def __init__(self, start: float = 1000.0) -> None:
        self._now = float(start)

    def __call__(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass. Raises ValueError for a negative number: this clock never goes back."""
        if seconds < 0:
            raise ValueError(f"a monotonic clock cannot go back: advance({seconds!r})")
        self._now += seconds

    def sleep(self, seconds: float) -> None:
        """In place of ``time.sleep``: returns at once, ``seconds`` later."""
        self.advance(seconds)

    async def asleep(self, seconds: float) -> None:
        """In place of ``asyncio.sleep``: returns at once, ``seconds`` later."""
        self.advance(seconds)
