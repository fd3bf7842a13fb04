"""The thread that changes cities: it renames them and gives them to other countries, in transactions of one to three
cities, of which a quarter is rolled back. Large cities change more often, as they are also read more often.

What a reader must know to judge an answer is kept in three tables, in this order: a write `began`, its transaction was
committed and commit() returned, `World.cities` has the new state, the write `ended`.
"""

import threading
from collections import Counter
from dataclasses import asdict
from itertools import accumulate
from random import Random

from examples.demo.application import Application, Changes
from examples.demo.load import Committed, World

PAUSE = 0.01
"""Seconds between two transactions."""


class _ChangedOurMind(Exception):
    pass


class Writer:
    """Use it as a context: it writes from the beginning to the end of the block."""

    def __init__(self, application: Application, world: World, seed: int) -> None:
        self.application = application
        self.world = world
        self.began: Counter[int] = Counter()
        self.ended: Counter[int] = Counter()
        self.never_committed: set[int] = set()
        """The versions that were, or are about to be, rolled back."""
        self.commits = 0
        self.rollbacks = 0
        self._random = Random(seed)
        self._version = max(state.version for state in world.cities.values())
        self._pks = list(world.cities)
        self._countries = list(world.codes)
        self._weights = list(accumulate(world.weights))
        self._stop = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    def __enter__(self) -> "Writer":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._error is not None and kind is None:
            raise self._error

    def _run(self) -> None:
        try:
            while not self._stop.wait(PAUSE):
                self._write()
        except Exception as error:
            self._error = error
        finally:
            self.application.end_thread()

    def _write(self) -> None:
        chosen = self._random.choices(self._pks, cum_weights=self._weights, k=self._random.randint(1, 3))
        pks = list(dict.fromkeys(chosen))
        rolls_back = self._random.random() < 0.25
        changed: dict[int, Committed] = {}
        for pk in pks:
            self.began[pk] += 1
        try:
            with self.application.transaction() as changes:
                for pk in pks:
                    changed[pk] = self._change(changes, pk, rolls_back)
                if rolls_back:
                    raise _ChangedOurMind
        except _ChangedOurMind:
            self.rollbacks += 1
        else:
            self.commits += 1
            self.world.cities.update(changed)
        finally:
            for pk in pks:
                self.ended[pk] += 1

    def _change(self, changes: Changes, pk: int, rolls_back: bool) -> Committed:
        self._version += 1
        if rolls_back:
            self.never_committed.add(self._version)
        after = self._moved(pk) if self._random.random() < 0.3 else self._renamed(pk)
        change = changes.update if self._random.random() < 0.5 else changes.save
        change(pk, asdict(after))
        return after

    def _renamed(self, pk: int) -> Committed:
        """Another of its names, in whatever script, and a slug to go with it."""
        before = self.world.cities[pk]
        name = self._random.choice(self.world.other_names[pk] or ["Newtown"])
        slug = self.world.new_slug(name, self.world.codes[before.country_id])
        return Committed(self._version, slug, before.country_id, self.world.new_name(name, before.country_id))

    def _moved(self, pk: int) -> Committed:
        """In another country, where its name may need a number. The slug stays."""
        before = self.world.cities[pk]
        country = self._random.choice(self._countries)
        return Committed(self._version, before.slug, country, self.world.new_name(before.name, country))
