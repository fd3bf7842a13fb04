"""The part of the conformance suite in which threads use one backend at once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cachecore.entries import Entry, Grant, Value
from cachecore.testing.suite_steps import HOLD_TTL, KEY, LEASE_TTL, TTL


class ThreadSuite:
    """What a backend promises to threads."""

    backend: Any

    def test_one_of_many_is_granted(self) -> None:
        """Of eight readers who ask at once for a key without an entry, exactly one is granted the lease."""
        barrier = threading.Barrier(8)

        def ask(number: int) -> list[Entry | Grant]:
            replies: list[Entry | Grant] = []
            for turn in range(20):
                barrier.wait()
                replies += self.backend.acquire([f"suite:turn:{turn}"], b"reader-%d" % number, LEASE_TTL)
            return replies

        with ThreadPoolExecutor(8) as pool:
            by_reader = list(pool.map(ask, range(8)))
        for replies in zip(*by_reader, strict=True):
            assert sorted(type(reply).__name__ for reply in replies) == ["Grant"] + ["Lease"] * 7

    def test_no_thread_sees_an_old_row(self) -> None:
        """Readers and writers at once: nobody is given a row older than a write that had completed before."""
        row_lock = threading.Lock()
        committed, acknowledged = [0], [0]
        old_rows: list[tuple[int, int]] = []
        hits = [0]

        def write(name: int) -> None:
            for turn in range(50):
                token = b"w%d-%05d" % (name, turn)
                with row_lock:
                    self.backend.hold([KEY], token, HOLD_TTL)
                    committed[0] += 1
                    written = committed[0]
                self.backend.complete([KEY], token, {}, TTL)
                acknowledged[0] = max(acknowledged[0], written)

        def read(name: int) -> None:
            for turn in range(200):
                floor = acknowledged[0]
                [reply] = self.backend.acquire([KEY], b"r%d-%05d" % (name, turn), LEASE_TTL)
                if isinstance(reply, Grant):
                    value = Value(b"%d" % committed[0], b"stamp")
                    self.backend.fill([(KEY, reply.token, value, 8)], TTL)
                elif isinstance(reply, Value) and isinstance(reply.payload, bytes):
                    hits[0] += 1
                    if int(reply.payload) < floor:
                        old_rows.append((int(reply.payload), floor))

        with ThreadPoolExecutor(6) as pool:
            done = [pool.submit(write, name) for name in range(2)] + [pool.submit(read, name) for name in range(4)]
        for future in done:
            future.result()
        assert old_rows == []
        assert self.backend.get([KEY])[0] in (None, Value(b"100", b"stamp"))

    def test_swap_loses_no_increment(self) -> None:
        """Threads that increment a counter by compare-and-set lose none."""
        self.backend.put([(KEY, Value(b"0", b"stamp--0"), 1)], TTL)

        def increment(name: int) -> None:
            for turn in range(25):
                swapped = False
                while not swapped:
                    [value] = self.backend.get([KEY])
                    fresh = Value(b"%d" % (int(value.payload) + 1), b"%d-%05d" % (name, turn))
                    swapped = self.backend.swap(KEY, value.stamp, fresh, 3, TTL)

        with ThreadPoolExecutor(4) as pool:
            done = [pool.submit(increment, name) for name in range(4)]
        for future in done:
            future.result()
        assert self.backend.get([KEY])[0].payload == b"100"
