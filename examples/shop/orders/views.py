"""Orders of the user who asks. Those that write are one transaction each (ATOMIC_REQUESTS)."""

import json

from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponseBase, JsonResponse
from django.utils.dateparse import parse_date
from django.views.decorators.http import require_POST

from accounts.models import Membership, Organization
from catalogue.models import Product
from orders.models import Order
from orders.placing import CannotBeOrdered, as_json, pieces_sold, place


def own(request: HttpRequest, number: str) -> Order:
    """An order of this user that was not cancelled."""
    try:
        order = Order.objects.get_from_cache(number=number)
    except Order.DoesNotExist as error:
        raise Http404(number) from error
    if order.customer_id != request.user.pk:
        raise Http404(number)
    return order


@transaction.non_atomic_requests
@login_required
def orders(request: HttpRequest) -> JsonResponse:
    """All of them, the newest first."""
    found = Order.objects.get_list_from_cache(customer=request.user)
    return JsonResponse({"orders": [order.number for order in found]})


@transaction.non_atomic_requests
@login_required
def one(request: HttpRequest, number: str) -> JsonResponse:
    """One of them."""
    return JsonResponse(as_json(own(request, number)))


@login_required
@require_POST
def new(request: HttpRequest) -> HttpResponseBase:
    """POST ``{"organization": "acme", "products": {"kettle-1": 2}}``."""
    asked = json.loads(request.body)
    try:
        organization = Organization.objects.get_from_cache(slug=asked["organization"])
        Membership.objects.get_from_cache(user=request.user, organization=organization)
        order = place(request.user, organization, asked["products"])
    except (Organization.DoesNotExist, Membership.DoesNotExist):
        return JsonResponse({"error": "you are no member of that organization"}, status=403)
    except CannotBeOrdered as error:
        return JsonResponse({"error": str(error)}, status=409)
    # The transaction of the request is still open: what it has written it reads from the database.
    return JsonResponse(as_json(Order.objects.get_from_cache(number=order.number)), status=201)


@login_required
@require_POST
def cancel(request: HttpRequest, number: str) -> JsonResponse:
    """Cancel it: the row is marked, and from the commit on nobody finds it any more."""
    own(request, number).delete()
    return JsonResponse({"cancelled": number})


@transaction.non_atomic_requests
def sold(request: HttpRequest, slug: str, day: str) -> JsonResponse:
    """How many pieces of a product were sold on a day."""
    moment = parse_date(day)
    try:
        product = Product.objects.get_from_cache(slug=slug)
    except Product.DoesNotExist as error:
        raise Http404(slug) from error
    if moment is None:
        raise Http404(day)
    return JsonResponse({"product": slug, "day": day, "pieces": pieces_sold(product, moment)})
