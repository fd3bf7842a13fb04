"""The table of the journal. Nothing but `cachecore.integrations.django.journal.notes` and `.journal` touches it."""

from datetime import datetime

from django.db import models
from django.db.models.functions import Now


class Journal(models.Model):
    """A note: what a write has outdated in a cache that could not be reached.

    Ids are never given twice (SQLite too: Django makes them AUTOINCREMENT), so that a replay deletes what it has read.
    """

    cache: "models.CharField[str, str]" = models.CharField(max_length=255)
    """The alias in CACHECORE."""
    entries: "models.TextField[str, str]" = models.TextField()
    """Keys of the cache, one a line."""
    created: "models.DateTimeField[datetime, datetime]" = models.DateTimeField(db_default=Now())
    """For whoever looks at the table."""
    keep_until: "models.DateTimeField[datetime | None, datetime | None]" = models.DateTimeField(null=True)
    """By the clock of the database: until then the statement that the note announces may be under way. NULL: it has
    ended."""

    class Meta:
        app_label = "cachecore"
        db_table = "cachecore_journal"

    def __str__(self) -> str:
        return f"{self.cache}: {self.entries.count(chr(10)) + 1} keys"
