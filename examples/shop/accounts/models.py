"""Who buys, for whom, and what they have chosen. Users are Django's own: see CACHECORE_MODELS in the settings."""

from typing import ClassVar

from cachecore.integrations.django import CacheManager, MappingManager
from django.conf import settings
from django.db import models
from django.db.models import Q, UniqueConstraint


class Organization(models.Model):
    """A customer."""

    slug = models.SlugField(unique=True)
    name = models.CharField(max_length=100)

    objects = CacheManager(cache_fields=["slug"])

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    """That a user may buy for an organization."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)
    organization = models.ForeignKey(Organization, models.CASCADE)
    limit = models.DecimalField(max_digits=10, decimal_places=2, null=True, blank=True)
    """The most that one order may cost; NULL: no limit."""

    # "Is she a member?" is asked again and again, and the answer is often no.
    objects = CacheManager(
        cache_fields=[("user", "organization")],
        cache_lists=["user"],
        cache_missing=True,
        cache_relations=["user", "organization"],
    )

    class Meta:
        constraints: ClassVar = [UniqueConstraint(fields=["user", "organization"], name="member_once")]


class OrganizationOption(models.Model):
    """Options of an organization: all of one organization are one entry of the cache."""

    organization = models.ForeignKey(Organization, models.CASCADE)
    key = models.CharField(max_length=64)
    value = models.JSONField()

    objects = MappingManager(scope=["organization"])

    class Meta:
        constraints: ClassVar = [UniqueConstraint(fields=["organization", "key"], name="one_option_of_organization")]


class UserOption(models.Model):
    """Options of a user, for one organization or, where it is NULL, in general."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)
    organization = models.ForeignKey(Organization, models.CASCADE, null=True, blank=True)
    key = models.CharField(max_length=64)
    value = models.JSONField()

    objects = MappingManager(scope=["user"], optional=["organization"])

    class Meta:
        constraints: ClassVar = [
            UniqueConstraint(fields=["user", "organization", "key"], name="one_option_of_user"),
            UniqueConstraint(fields=["user", "key"], condition=Q(organization=None), name="one_general_option_of_user"),
        ]
