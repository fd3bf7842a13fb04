"""Threads that do a turn together each time they are called."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from benchmarks.measure import Call

Make = Callable[[], Call]
"""Gives a thread, which calls it, what it will call."""


class Crew:
    """Threads that wait to be called, each with a call of its own, which it makes itself; they live inside the block.

    make: called in each thread. threads: how many. calls: of one turn, divided among them.
    """

    def __init__(self, make: Make, threads: int, calls: int) -> None:
        self._barrier = threading.Barrier(threads + 1)
        self._calls = calls // threads
        self._errors: list[BaseException] = []
        self._threads = [threading.Thread(target=self._work, args=(make,), daemon=True) for _ in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._barrier.abort()
        for thread in self._threads:
            thread.join()

    def __call__(self) -> None:
        """One turn. Raises what a thread has raised; the crew is of no use then."""
        try:
            self._barrier.wait()
            self._barrier.wait()
        except threading.BrokenBarrierError:
            raise self._errors[0] if self._errors else RuntimeError("the crew has gone") from None

    def _work(self, make: Make) -> None:
        try:
            call = make()
            while True:
                self._barrier.wait()
                for _ in range(self._calls):
                    call()
                self._barrier.wait()
        except threading.BrokenBarrierError:
            return
        except BaseException as error:
            self._errors.append(error)
            self._barrier.abort()
