"""Views that write, for the tests of ATOMIC_REQUESTS."""

from django.http import HttpRequest, HttpResponse

from tests.geo_app.models import City


def grow(request: HttpRequest, pk: int) -> HttpResponse:
    """Make a city larger, read it through the cache, and fail if asked to."""
    City.objects.filter(pk=pk).update(population=1000)
    seen = City.objects.get_from_cache(pk=pk).population
    if "fail" in request.GET:
        raise RuntimeError("the view fails after it has written")
    return HttpResponse(str(seen))
