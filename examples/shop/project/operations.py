"""What operators do with the caches of this process: look at the counters, and switch a model off and on."""

import json
from typing import Any

from cachecore.integrations.django import caches
from django.contrib.admin.views.decorators import staff_member_required
from django.db import transaction
from django.http import HttpRequest, HttpResponseBadRequest, JsonResponse
from django.http.response import HttpResponseBase

from accounts.models import Organization
from catalogue import metrics
from catalogue.models import Category, Product
from orders.models import Order

MODELS: dict[str, Any] = {model._meta.label: model for model in (Product, Category, Organization, Order)}


@transaction.non_atomic_requests
@staff_member_required
def cache(request: HttpRequest) -> HttpResponseBase:
    """GET: counters. POST ``{"model": "catalogue.Product", "enabled": false}``: read it from the database, in this
    process, until it is enabled again. Its writes outdate as ever."""
    if request.method == "POST":
        wanted = json.loads(request.body)
        model = MODELS.get(wanted.get("model"))
        if model is None or not isinstance(wanted.get("enabled"), bool):
            return HttpResponseBadRequest(f"model is one of {', '.join(MODELS)}, and enabled true or false")
        if wanted["enabled"]:
            model.objects.enable_cache()
        else:
            model.objects.disable_cache()
    counted = caches["default"].statistics
    return JsonResponse(
        {
            "hit_ratio": counted.hit_ratio,
            "misses": dict(counted.miss_reasons),
            "outdated": metrics.outdated(),
            "disabled": [label for label, model in MODELS.items() if model.objects.is_cache_disabled],
        }
    )
