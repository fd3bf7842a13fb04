"""Customers in the admin."""

from django.contrib import admin

from accounts.models import Membership, Organization, OrganizationOption, UserOption

admin.site.register([Organization, Membership, OrganizationOption, UserOption])
