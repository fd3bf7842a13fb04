"""Against the lookups a model declares: the round trips of one save, and of the read that follows it.

A lookup needs no invalidation: the row it leads to confirms it. So a save outdates one key, however many lookups the
model declares: one round trip before COMMIT and one after.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from django.db import connection

from benchmarks.scaling.curve import Curve, series
from benchmarks.scaling.models import MOST_LOOKUPS, with_lookups
from benchmarks.scaling.sweep import Effort
from cachecore.integrations.django.conf import caches
from cachecore.testing.counting import counting

SIZES: Final = [1, 2, 5, 10, 20]
MOST: Final = 2


def curves(effort: Effort) -> Iterator[Curve]:
    """Round trips; they are counted, so a few sizes say as much as many rounds."""
    saves: dict[str, dict[int, list[float]]] = {}
    for alias in ("redis", "memcached"):
        saved, moved, read = f"{alias}: save", f"{alias}: save of new values", f"{alias}: a warm read"
        for name in (saved, moved, read):
            saves[name] = {}
        for size in effort.sizes(SIZES, MOST_LOOKUPS):
            instance = _row(with_lookups(size, alias))
            saves[saved][size] = [_round_trips(alias, instance.save)]
            saves[moved][size] = [_round_trips(alias, partial(_move, instance))]
            saves[read][size] = [_round_trips(alias, partial(_find, instance, size))]
    yield Curve(
        name="lookups",
        title=f"round trips of one save, by the lookups of the model (of {MOST_LOOKUPS} columns)",
        x_label="lookups",
        y_label="round trips",
        unit="round trips",
        docs="A save adds two round trips at most, however many keys it touches, and none for a lookup.",
        series=[series(name, "count", values, expected=0.0, tolerance=0.0) for name, values in saves.items()],
        broken=[
            f"{name}: {values[0]:g} round trips with {size} lookups"
            for name, counts in saves.items()
            for size, values in counts.items()
            if values[0] > (1 if "read" in name else MOST)
        ],
    )


def _row(model: Any) -> Any:
    with connection.schema_editor() as editor:
        editor.create_model(model)
    return model.objects.create(**{f"column_{number}": f"value-{number}" for number in range(MOST_LOOKUPS)})


def _move(instance: Any) -> None:
    """Give every lookup another value."""
    for number in range(MOST_LOOKUPS):
        name = f"column_{number}"
        setattr(instance, name, getattr(instance, name) + "-moved")
    instance.save()


def _find(instance: Any, lookups: int) -> None:
    name = f"column_{lookups - 1}"
    instance.refresh_from_db()
    model: Any = type(instance)
    found = model.objects.get_from_cache(**{name: getattr(instance, name)})
    assert found.pk == instance.pk


def _round_trips(alias: str, action: Callable[[], object]) -> int:
    """Those of the third time: by then connections are made, scripts known and lookups remembered."""
    action()
    action()
    with counting([caches[alias]]) as counts:
        action()
    return counts.operations
