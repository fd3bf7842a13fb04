"""What each response says of its costs, and how staff look past the cache."""

from collections.abc import Callable
from typing import Any

from cachecore.integrations.django import cache_bypassed, caches
from django.db import connection
from django.http import HttpRequest, HttpResponseBase

View = Callable[[HttpRequest], HttpResponseBase]

_ENDS = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE")


def costs(get_response: View) -> View:
    """Say in headers what a response has cost: X-Queries, and X-Cache: hits, misses.

    Queries are those of this request's connection. The cache counts for the whole process, so that of requests side by
    side one may be told the hits of another.
    """

    def middleware(request: HttpRequest) -> HttpResponseBase:
        queries = 0

        def count(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
            nonlocal queries
            queries += not sql.startswith(_ENDS)
            return execute(sql, *rest)

        counted = caches["default"].statistics
        hits, misses = counted.hits, counted.misses
        with connection.execute_wrapper(count):
            response = get_response(request)
        response.headers["X-Queries"] = str(queries)
        response.headers["X-Cache"] = f"hits={counted.hits - hits}, misses={counted.misses - misses}"
        return response

    return middleware


def fresh(get_response: View) -> View:
    """``?fresh=1`` of a member of the staff: every row of this request comes from the database."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        if "fresh" not in request.GET or not request.user.is_staff:
            return get_response(request)
        with cache_bypassed():
            return get_response(request)

    return middleware
