"""The models of what the integration offers besides its manager, one for each thing that can be special."""

from typing import Any, ClassVar

from django.db import models
from django.db.models.functions import Upper

from cachecore.integrations.django import CacheManager, CacheQuerySet
from cachecore.integrations.django.base import BaseModel, sane_repr
from cachecore.integrations.django.fields import (
    BoundedAutoField,
    BoundedBigAutoField,
    BoundedBigIntegerField,
    BoundedIntegerField,
    BoundedPositiveIntegerField,
    GzippedDictField,
)
from cachecore.integrations.django.orm.create_or_update import CreateOrUpdate
from cachecore.integrations.django.orm.hooks import ManagerHooks
from cachecore.integrations.django.orm.post_update import PostUpdateQuerySet
from cachecore.integrations.django.soft_delete import (
    DeletionMark,
    SoftDeletable,
    SoftDeleteManager,
    SoftDeleteModel,
    WithDeletedManager,
)


class Team(BaseModel):
    """What players point at."""

    name = models.CharField(max_length=50, unique=True)

    objects = CacheManager(cache_fields=["name"])

    __repr__ = sane_repr("name", "motto", "broken", "players")

    motto = "forward"

    @property
    def broken(self) -> str:
        raise LookupError("no such thing")


class Player(BaseModel):
    """A column of every kind that an update treats in its own way."""

    slug = models.SlugField(unique=True)
    name = models.CharField(max_length=50, default="")
    score = models.IntegerField(default=0)
    limit = models.IntegerField(null=True)
    ratio = models.FloatField(default=1.0)
    price = models.DecimalField(max_digits=10, decimal_places=2, default=0)
    active = models.BooleanField(default=True)
    joined = models.DateTimeField(null=True)
    break_time = models.DurationField(null=True)
    birthday = models.DateField(null=True)
    team = models.ForeignKey(Team, models.SET_NULL, null=True, related_name="players")
    mentor = models.OneToOneField("self", models.SET_NULL, null=True, related_name="pupil")
    data = models.JSONField(default=dict)
    friends = models.ManyToManyField("self")
    updated = models.DateTimeField(auto_now=True)

    objects = CacheManager(cache_fields=["slug"])

    __repr__ = sane_repr("slug", "team")


class PlayerProxy(Player):
    """Another class for the same table."""

    class Meta:
        proxy = True


class Captain(Player):
    """A child table."""

    rank = models.IntegerField(default=0)


class Shouted(BaseModel):
    """A column that the database computes."""

    name = models.CharField(max_length=20)
    loud = models.GeneratedField(
        expression=Upper("name"), output_field=models.CharField(max_length=20), db_persist=True
    )


class Keyless(BaseModel):
    """A table that somebody else has made, without a unique key."""

    number = models.IntegerField(primary_key=True)
    name = models.CharField(max_length=20)

    class Meta:
        managed = False
        db_table = "extras_keyless"


class PairedSeat(BaseModel):
    """A primary key of two columns."""

    pk = models.CompositePrimaryKey("row", "number")
    row = models.CharField(max_length=2)
    number = models.IntegerField()
    taken = models.BooleanField(default=False)

    objects = CacheManager(cache_fields=["pk"])


class CounterQuerySet(CreateOrUpdate, models.QuerySet["Counter"]):
    """Has create_or_update."""


_CounterManager: Any = models.Manager.from_queryset(CounterQuerySet)


class CounterManager(CreateOrUpdate, _CounterManager):  # type: ignore[misc]
    """So has this one."""


class Counter(models.Model):
    """Rows that usually exist; unique in two ways."""

    key = models.CharField(max_length=20, unique=True)
    code = models.CharField(max_length=20, unique=True, null=True)
    times = models.IntegerField(default=10)
    label = models.CharField(max_length=40, default="new")
    seen = models.DateTimeField(null=True)
    team = models.ForeignKey(Team, models.CASCADE, null=True, related_name="counters")

    objects = CounterManager()
    cached = CacheManager(cache_fields=["key"])


class LoudQuerySet(CacheQuerySet, PostUpdateQuerySet):
    """All its updates send post_update."""

    send_post_update = True


class WatchedQuerySet(CacheQuerySet, PostUpdateQuerySet):
    """Its updates send post_update if they are asked to."""


class Watched(models.Model):
    """Updated with and without a signal."""

    name = models.CharField(max_length=20)
    size = models.IntegerField(default=0)
    team = models.ForeignKey(Team, models.SET_NULL, null=True)

    objects = WatchedQuerySet.as_manager()
    loud = LoudQuerySet.as_manager()
    cached = CacheManager(cache_fields=["pk"])


class CalledManager(CacheManager, ManagerHooks):
    """Writes down what it is called with."""

    calls: ClassVar[list[tuple[Any, ...]]] = []

    def post_save(self, instance: models.Model, *, created: bool, **options: Any) -> None:
        self.calls.append(("post_save", self.model, instance.pk, created, options))

    def post_delete(self, instance: models.Model, **options: Any) -> None:
        self.calls.append(("post_delete", self.model, instance.pk, options))


class AbstractCalled(models.Model):
    """Brings its manager to its children."""

    name = models.CharField(max_length=20)

    objects = CalledManager()

    class Meta:
        abstract = True


class Called(AbstractCalled):
    """Its manager has hooks and caches nothing."""


class CalledChild(Called):
    """A child table, with a manager of its own."""


class Quiet(models.Model):
    """Its manager could have hooks and has none."""

    name = models.CharField(max_length=20)

    objects = ManagerHooks()


class Folder(models.Model):
    """What documents are in."""

    name = models.CharField(max_length=20)


class Document(SoftDeleteModel):
    """Marked by a date."""

    title = models.SlugField(unique=True)
    size = models.IntegerField(default=0)
    folder = models.ForeignKey(Folder, models.CASCADE, null=True, related_name="documents")
    original = models.ForeignKey("self", models.CASCADE, null=True, related_name="copies")

    objects = SoftDeleteManager(cache_fields=["title"])


class Plain(SoftDeleteModel):
    """Marked, and not cached: it has the managers of its base."""

    name = models.CharField(max_length=20)


class Project(SoftDeletable):
    """Marked by a status."""

    class Status(models.IntegerChoices):
        ACTIVE = 0
        HIDDEN = 1
        DELETED = 2

    deletion_mark = DeletionMark("status", deleted=Status.DELETED, present=Status.ACTIVE)

    slug = models.SlugField(unique=True)
    status = models.IntegerField(null=True, default=Status.ACTIVE)

    objects = SoftDeleteManager(cache_fields=["slug"])
    with_deleted = WithDeletedManager()


class Measured(models.Model):
    """The bounded fields."""

    id = BoundedBigAutoField(primary_key=True)
    small = BoundedIntegerField(default=0)
    big = BoundedBigIntegerField(null=True)
    count = BoundedPositiveIntegerField(default=0)

    objects = CacheManager(cache_fields=["pk"])


class SmallKey(models.Model):
    """A bounded key of 32 bits."""

    id = BoundedAutoField(primary_key=True)
    measured = models.ForeignKey(Measured, models.CASCADE, null=True)


class Zipped(models.Model):
    """Compressed dicts."""

    slug = models.SlugField(unique=True)
    data = GzippedDictField()
    maybe = GzippedDictField(null=True, blank=True)
    short = GzippedDictField(max_bytes=40)

    objects = CacheManager(cache_fields=["slug"])
