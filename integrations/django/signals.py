"""Signals of the Django integration, for receivers of the application."""

from django.dispatch import Signal

from cachecore.events import Hit, Invalidated, Miss
from cachecore.integrations.django.cache_signals import CacheSignal

post_update = Signal()
"""Sent after `QuerySet.update` has written rows, by querysets that were asked to: ``with_post_update()``.

sender: the model class of the queryset.
updated_fields: the names of the fields that were written, a tuple of str.
model_ids: the primary keys of the rows that were written, a tuple, in no particular order; if the update changed
    primary keys, these are the old ones.
using: the database alias.

As with Django's own post_save, the transaction may still be open, and an exception of a receiver reaches the caller.
"""

cache_hit = CacheSignal(Hit)
"""Sent when rows have been answered from a cache, not counting the local cache of a request.

sender: the cached model, a concrete one; None for what is no row of a model.
cache: the alias in CACHECORE.
using: the first alias of the database that the rows are of.
keys: the keys in the cache, a list of str.
identities: key -> primary key, of those keys that show it: integers of 64 bits and UUIDs, unless there is a SECRET.

This signal and the two below are sent in the thread of the read or write, so receivers must be quick. What they raise
is logged. While none is connected, nothing is done for them.
"""

cache_miss = CacheSignal(Miss)
"""Sent when rows have to be read from the database. The arguments are those of `cache_hit`, and besides:

reasons: key -> why: "absent", "leased", "held", "epoch", "schema", "corrupt", "identity", "format", "backend",
    "written". `cachecore.events` says what they mean.
"""

cache_invalidated = CacheSignal(Invalidated)
"""Sent when a cache has acknowledged that rows are outdated: after COMMIT, or by `invalidate`. The arguments are those
of `cache_hit`, and besides:

all_rows: whether all rows of the model are outdated, by one key.
"""
