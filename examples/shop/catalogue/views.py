"""Pages of the catalogue. They only read, so that they need no transaction.

On PostgreSQL at READ COMMITTED they would fill the cache inside one too; on SQLite a transaction shows an old snapshot
and fills nothing. Without one they do not even open a connection to the database as long as everything is cached.
"""

from cachecore.integrations.django import aprefetch_from_cache, prefetch_from_cache
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import redirect, render

from accounts.models import UserOption
from catalogue.models import Category, Maker, OldSlug, Product, Tag, Tagging
from catalogue.prices import price_range


def theme(request: HttpRequest) -> str:
    """How the reader wants pages to look: an option of a user, all of whose options are one entry of the cache."""
    if not request.user.is_authenticated:
        return "light"
    found: str = UserOption.objects.get_value(request.user, "theme", default="light")
    return found


@transaction.non_atomic_requests
def home(request: HttpRequest) -> HttpResponse:
    """The categories that are in none. A list by NULL is none that is cached: this is one query."""
    top = Category.objects.filter(parent=None).order_by("position", "name")
    return render(request, "home.html", {"categories": top, "theme": theme(request)})


@transaction.non_atomic_requests
def category(request: HttpRequest, slug: str) -> HttpResponse:
    """A category: what is in it, and its products with their makers."""
    try:
        found = Category.objects.get_from_cache(slug=slug)
    except Category.DoesNotExist as error:
        raise Http404(slug) from error
    # A list is complete and coherent. The makers of all products are one multi-get.
    products = prefetch_from_cache(Product.objects.get_list_from_cache(category=found), "maker")
    context = {
        "category": found,
        "children": Category.objects.get_list_from_cache(parent=found),
        "products": products,
        "prices": price_range(found.pk),
        "theme": theme(request),
    }
    return render(request, "category.html", context)


@transaction.non_atomic_requests
def product(request: HttpRequest, slug: str) -> HttpResponseBase:
    """A product. When everything is warm this page asks the database nothing."""
    try:
        found = Product.objects.get_from_cache(slug=slug)
    except Product.DoesNotExist as error:
        try:
            # That there is none is remembered too, for products and for old slugs.
            return redirect(f"/products/{OldSlug.objects.get_from_cache(slug=slug).product.slug}/", permanent=True)
        except OldSlug.DoesNotExist:
            raise Http404(slug) from error
    taggings = Tagging.objects.get_list_from_cache(product=found)
    context = {
        "product": found,
        "tags": [tagging.tag for tagging in taggings],  # the first that is followed fetches for all of them
        "prices": price_range(found.category_id),
        "theme": theme(request),
    }
    return render(request, "product.html", context)


@transaction.non_atomic_requests
def by_number(request: HttpRequest, maker: str, number: str) -> HttpResponseBase:
    """A product by two columns that are unique together."""
    try:
        found = Product.objects.get_from_cache(maker=Maker.objects.get_from_cache(code=maker), number=number)
    except (Maker.DoesNotExist, Product.DoesNotExist) as error:
        raise Http404(f"{maker} {number}") from error
    return redirect(f"/products/{found.slug}/")


# -- the same, asynchronous; Django refuses ATOMIC_REQUESTS for such views ---------------------------


def as_json(found: Product) -> dict[str, object]:
    """A product for programs."""
    return {
        "slug": found.slug,
        "name": found.name,
        "price": str(found.price),
        "stock": found.stock,
        "maker": found.maker.name,
        "category": found.category.slug,
        "details": found.details,
    }


@transaction.non_atomic_requests
async def api_product(request: HttpRequest, slug: str) -> JsonResponse:
    """One product."""
    try:
        found = await Product.objects.aget_from_cache(slug=slug)
    except Product.DoesNotExist:
        return JsonResponse({"error": f"no product {slug!r}"}, status=404)
    # In an event loop relations are not followed but fetched.
    await aprefetch_from_cache([found], "maker", "category")
    return JsonResponse(as_json(found))


@transaction.non_atomic_requests
async def api_products(request: HttpRequest) -> JsonResponse:
    """Many products by their slugs, in the order asked for, ``?slug=a&slug=b``; or all of a tag, ``?tag=new``."""
    if "tag" in request.GET:
        try:
            tag = await Tag.objects.aget_from_cache(slug=request.GET["tag"])
        except Tag.DoesNotExist:
            return JsonResponse({"products": []})
        taggings = await Tagging.objects.aget_list_from_cache(tag=tag)
        await aprefetch_from_cache(taggings, "product__maker", "product__category")
        products = [tagging.product for tagging in taggings]
    else:
        products = await Product.objects.aget_many_from_cache(request.GET.getlist("slug"), key="slug")
        await aprefetch_from_cache(products, "maker", "category")
    return JsonResponse({"products": [as_json(found) for found in products]})
