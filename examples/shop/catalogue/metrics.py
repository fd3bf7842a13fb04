"""What is counted in this process of writes: rows that were outdated, and rows that bulk updates wrote."""

import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any

from django.db import models

_lock = threading.Lock()
_outdated: Counter[str] = Counter()
_updated: Counter[str] = Counter()


def on_invalidated(sender: type[models.Model] | None, keys: Sequence[str], all_rows: bool, **_: Any) -> None:
    """A cache has acknowledged that rows are outdated. ``sender`` is None for results of functions and mappings."""
    name = "results" if sender is None else sender._meta.label
    with _lock:
        _outdated[f"{name}, all rows" if all_rows else name] += len(keys)


def on_post_update(sender: type[models.Model], model_ids: Sequence[Any], **_: Any) -> None:
    """A bulk update tells which rows it wrote: here a search index would be told."""
    with _lock:
        _updated[sender._meta.label] += len(model_ids)


def outdated() -> dict[str, int]:
    """Keys outdated so far, by model."""
    with _lock:
        return dict(_outdated)


def updated() -> dict[str, int]:
    """Rows written so far by updates that told, by model."""
    with _lock:
        return dict(_updated)
