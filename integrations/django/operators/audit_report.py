"""What an audit tells: how many of the cached rows agree with the database, and each value that does not."""

import math
from dataclasses import dataclass, field
from typing import Any

from django.db import models


@dataclass(frozen=True)
class Difference:
    """One value that the cache holds and the database does not."""

    key: str
    """Of the row in the cache."""
    identity: Any
    """The primary key."""
    column: str
    """The attribute that differs; "" if the database has no such row."""
    cached: Any
    stored: Any
    """In the database."""

    def __str__(self) -> str:
        if not self.column:
            return f"{self.key}: pk {self.identity!r} is cached, and the database has no such row"
        return f"{self.key}: pk {self.identity!r}, {self.column}: cached {self.cached!r}, stored {self.stored!r}"


@dataclass
class AuditReport:
    """What an audit has found of one model in one database."""

    model: type[models.Model]
    using: str
    sampled: int = 0
    """Rows of the database that were looked at."""
    cached: int = 0
    """Rows that the cache held and would have answered with, rows that only it had included."""
    agreeing: int = 0
    undecided: int = 0
    """Cached rows that changed each time they were looked at."""
    is_complete: bool = False
    """Whether every row of the database was looked at."""
    differences: list[Difference] = field(default_factory=list[Difference])

    @property
    def differing(self) -> int:
        """Cached rows that are outdated."""
        return len({difference.key for difference in self.differences})

    @property
    def agreement(self) -> float | None:
        """The share of the cached rows that agree, 0 to 1, the undecided left out; None if there are none."""
        decided = self.agreeing + self.differing
        return self.agreeing / decided if decided else None

    @property
    def nines(self) -> float | None:
        """How many nines the agreement has: 3.0 for 99.9 %. If all agree, as many as so many rows can show at most."""
        decided = self.agreeing + self.differing
        return math.log10(decided / max(self.differing, 1)) if decided else None

    def __str__(self) -> str:
        label = f"{self.model._meta.label} in {self.using!r}"
        rows = f"{self.sampled} rows sampled" if not self.is_complete else f"all {self.sampled} rows"
        if not self.cached:
            return f"{label}: {rows}, none of them cached"
        said = f"{label}: {rows}, {self.cached} cached"
        if self.agreement is None:
            said += ", all of them undecided"
        elif self.differing:
            said += f", {self.differing} outdated: {100 * self.agreement:.6g} % agree ({self.nines:.1f} nines)"
        else:
            said += f", all agree ({self.nines:.1f} nines are the most that so many can show)"
        return said + (f", {self.undecided} undecided" if self.undecided and self.agreement is not None else "")
