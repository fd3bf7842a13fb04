"""What a user sees and chooses."""

import json

from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpRequest, HttpResponseBadRequest, HttpResponseBase, JsonResponse

from accounts.models import Membership, Organization, UserOption


@transaction.non_atomic_requests
@login_required
def account(request: HttpRequest) -> JsonResponse:
    """The user, the organizations she buys for, and her options."""
    memberships = Membership.objects.get_list_from_cache(user=request.user)
    return JsonResponse(
        {
            "user": request.user.get_username(),
            "organizations": sorted(membership.organization.slug for membership in memberships),
            "options": UserOption.objects.get_all_values(request.user),
        }
    )


@login_required
def options(request: HttpRequest) -> HttpResponseBase:
    """POST ``{"theme": "dark"}``: set options, and with null unset them; with ``?organization=acme`` for that one.

    The request is one transaction (ATOMIC_REQUESTS): all are set, or none.
    """
    wanted = json.loads(request.body or b"null")
    if request.method != "POST" or not isinstance(wanted, dict):
        return HttpResponseBadRequest("POST a JSON object")
    organization = None
    if "organization" in request.GET:
        try:
            organization = Organization.objects.get_from_cache(slug=request.GET["organization"])
            Membership.objects.get_from_cache(user=request.user, organization=organization)
        except (Organization.DoesNotExist, Membership.DoesNotExist):
            return HttpResponseBadRequest("you are no member of that organization")
    for key, value in wanted.items():
        if value is None:
            UserOption.objects.unset_value(request.user, key, organization=organization)
        else:
            UserOption.objects.set_value(request.user, key, value, organization=organization)
    return JsonResponse({"options": UserOption.objects.get_all_values(request.user, organization=organization)})
