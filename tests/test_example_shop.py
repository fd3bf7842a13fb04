"""The example project, run as its README says: its commands, its server, and other processes that write meanwhile."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, HTTPRedirectHandler, Request, build_opener

import pytest

from cachecore.testing.servers import PostgresServer, RedisServer, free_port
from tests.conftest import require

ROOT = Path(__file__).parent.parent
MANAGE = ROOT / "examples" / "shop" / "manage.py"
PASSWORD = "only for the example"


@dataclass
class Reply:
    """What the server has answered."""

    status: int
    text: str
    headers: Mapping[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def queries(self) -> int:
        return int(self.headers["X-Queries"])

    @property
    def misses(self) -> int:
        found = re.search(r"misses=(\d+)", self.headers["X-Cache"])
        assert found is not None
        return int(found[1])


class _Stay(HTTPRedirectHandler):
    """Redirects are answers."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Browser:
    """One visitor of a server, with her cookies."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._cookies = CookieJar()
        self._opener = build_opener(HTTPCookieProcessor(self._cookies), _Stay())

    def get(self, path: str) -> Reply:
        return self._send(Request(self.address + path))

    def post(self, path: str, data: Any) -> Reply:
        """``data``: a dict of form fields as a form, anything else as JSON; with the token of Django's forms."""
        token = next((cookie.value for cookie in self._cookies if cookie.name == "csrftoken"), None) or ""
        headers = {"X-CSRFToken": token, "Referer": self.address}
        if isinstance(data, Form):
            return self._send(Request(self.address + path, urlencode(data.fields, doseq=True).encode(), headers))
        headers["Content-Type"] = "application/json"
        return self._send(Request(self.address + path, json.dumps(data).encode(), headers))

    def log_in(self, name: str) -> "Browser":
        """As one of the users that ``fill`` makes."""
        self.get("/login/")
        reply = self.post("/login/", Form({"username": name, "password": PASSWORD}))
        assert reply.status == 302, reply.text
        return self

    def _send(self, request: Request) -> Reply:
        try:
            with self._opener.open(request, timeout=60) as answer:
                return Reply(answer.status, answer.read().decode(), dict(answer.headers))
        except HTTPError as error:
            with error:
                return Reply(error.code, error.read().decode(), dict(error.headers))

    def warm(self, path: str) -> Reply:
        """The answer when it has been asked for often enough to be answered from the cache."""
        for _ in range(3):
            reply = self.get(path)
        return reply


@dataclass
class Form:
    """The fields of a form."""

    fields: dict[str, Any]


class Shop:
    """The project on a database and a cache of its own."""

    def __init__(self, **environment: str) -> None:
        self._environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "SHOP_DEBUG": "0",
            "SHOP_NAMESPACE": uuid.uuid4().hex,
            **environment,
        }
        self._environment.pop("DJANGO_SETTINGS_MODULE", None)
        self.address = ""

    def manage(self, *words: str, status: int = 0, **environment: str) -> str:
        """Run a command to its end; what it has printed."""
        done = subprocess.run(
            [sys.executable, "-W", "error", str(MANAGE), *words],
            env={**self._environment, **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == status, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr if status else done.stdout

    def set_up(self, products: int = 40) -> None:
        """Tables, products, users and a few orders."""
        self.manage("migrate", "--verbosity", "0")
        assert f"{products} products, 3 users" in self.manage("fill", "--products", str(products), "--orders", "3")

    @contextmanager
    def serving(self, log: Path) -> Iterator["Shop"]:
        """The server runs."""
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        command = [sys.executable, str(MANAGE), "runserver", "--noreload", f"127.0.0.1:{port}"]
        with log.open("w") as output:
            server = subprocess.Popen(command, env=self._environment, stdout=output, stderr=subprocess.STDOUT)
            try:
                until(lambda: answers(port) or server.poll() is not None)
                assert server.poll() is None, log.read_text()
                yield self
                assert server.poll() is None, log.read_text()
            finally:
                server.kill()
                server.wait()
        assert "Traceback" not in log.read_text(), log.read_text()

    def visitor(self) -> Browser:
        return Browser(self.address)


def answers(port: int) -> bool:
    """Whether something listens there."""
    with socket.socket() as knocking:
        return knocking.connect_ex(("127.0.0.1", port)) == 0


def until(happened: Callable[[], bool]) -> None:
    """Wait for what another process does."""
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def price(reply: Reply) -> Decimal:
    """Of a product's page."""
    found = re.search(r"<b>([\d.]+)</b>", reply.text)
    assert found is not None, reply.text
    return Decimal(found[1])


# -- three ways to set it up -----------------------------------------------------------------------


def postgresql(server: PostgresServer) -> str:
    """A new database on this server."""
    name = f"shop_{uuid.uuid4().hex}"
    psycopg = pytest.importorskip("psycopg")
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"postgresql://postgres@{server.host}:{server.port}/{name}"


SETTINGS = ["sqlite, memory", "sqlite, memcached", "postgresql, redis"]


@pytest.fixture(scope="module", params=SETTINGS)
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The shop, filled and serving. Each test has products of its own."""
    database, cache = request.param.split(", ")
    folder = tmp_path_factory.mktemp("shop")
    environment = {"SHOP_DATABASE": str(folder / "shop.sqlite3")}
    if database == "postgresql":
        environment["SHOP_DATABASE"] = postgresql(request.getfixturevalue("postgres_server"))
    if cache != "memory":
        environment["SHOP_CACHE"] = request.getfixturevalue(f"{cache}_server").url + "?timeout=10"
    made = Shop(**environment)
    made.set_up()
    with made.serving(folder / "server.log"):
        yield made


@pytest.fixture
def shared(shop: Shop) -> Shop:
    """The shop on a cache that other processes use too."""
    if "SHOP_CACHE" not in shop._environment:
        pytest.skip("a cache in the process hears nothing of other processes")
    return shop


@pytest.fixture(scope="module")
def ada(shop: Shop) -> Browser:
    """A customer."""
    return shop.visitor().log_in("ada")


@pytest.fixture(scope="module")
def root(shop: Shop) -> Browser:
    """One of the staff."""
    return shop.visitor().log_in("root")


# -- what a warm page costs ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/products/kettle-0/",
        "/categories/kitchen-new/",
        "/api/products/kettle-0/",
        "/api/products/?slug=kettle-0&slug=lamp-1&slug=none&slug=kettle-0",
        "/api/products/?tag=blue",
        "/products/no-such-thing/",
        "/account/",
        "/orders/",
    ],
)
def test_a_warm_page_asks_the_database_nothing(path: str, ada: Browser) -> None:
    """Neither for what it shows nor for who is asking: no query of any kind."""
    warm = ada.warm(path)
    assert (warm.queries, warm.misses) == (0, 0)
    assert ada.get(path).text == warm.text
    assert warm.status == (404 if "no-such" in path else 200)


def test_what_pages_say(ada: Browser) -> None:
    """Cold or warm, HTML or JSON, by slug, by the maker's number and by tag."""
    page = ada.get("/products/chair-2/").text
    assert '<html lang="en" data-theme="dark">' in page
    assert all(text in page for text in ("Chair 2", "Acme", "number 0002", "Living room, new", "Living room ›"))
    assert ada.get("/numbers/ACM/0002/").headers["Location"] == "/products/chair-2/"
    assert ada.get("/numbers/BRN/0002/").status == 404
    found = ada.get("/api/products/?slug=lamp-1&slug=chair-2&slug=lamp-1").json["products"]
    assert [one["slug"] for one in found] == ["lamp-1", "chair-2", "lamp-1"]
    assert found[1] == ada.get("/api/products/chair-2/").json
    assert found[1]["details"]["colours"] == ["blue", "green"]
    assert ada.get("/account/").json == {"user": "ada", "organizations": ["acme"], "options": {"theme": "dark"}}


# -- writes ----------------------------------------------------------------------------------------


def change(root: Browser, slug: str, /, **values: str) -> None:
    """Change a product in the admin."""
    listed = root.get(f"/admin/catalogue/product/?q={slug}").text
    found = re.search(rf'"(/admin/catalogue/product/\d+/change/)[^"]*">{slug}</a>', listed)
    assert found is not None, listed
    form = root.get(found[1]).text
    inputs = re.findall(r'<input type="(?:text|number|hidden)" name="([^"]+)"(?: value="([^"]*)")?', form)
    fields: dict[str, Any] = dict(inputs)
    for name, options in re.findall(r'<select name="([^"]+)".*?>(.*?)</select>', form, re.DOTALL):
        chosen = re.search(r'<option value="([^"]*)" selected', options)
        fields[name] = chosen[1] if chosen else ""
    fields["details"] = "{}"
    assert set(values) <= set(fields), fields
    reply = root.post(found[1], Form({**fields, **values}))
    assert reply.status == 302, re.findall(r'class="errorlist".*', reply.text)


def test_the_admin_outdates_what_it_writes(shop: Shop, ada: Browser, root: Browser) -> None:
    """Price, list and range of prices are new with the next request, and an old slug leads on."""
    ada.warm("/products/table-3/")
    ada.warm("/products/table-3-b/")
    ada.warm("/categories/living-room-used/")
    change(root, "table-3", price="9999.00", slug="table-3-b")
    moved = ada.get("/products/table-3/")
    assert (moved.status, moved.headers["Location"]) == (301, "/products/table-3-b/")
    assert price(ada.get("/products/table-3-b/")) == 9999
    assert all(text in ada.get("/categories/living-room-used/").text for text in ("9999.00", "table-3-b"))
    assert ada.warm("/products/table-3-b/").queries == 0


def test_an_order(shop: Shop, ada: Browser) -> None:
    """Stock, counter and list follow it; it is confirmed after its commit; cancelled it is found no more."""
    day = datetime.now(UTC).date()
    stock = ada.get("/api/products/clock-4/").json["stock"]
    before = ada.get("/orders/").json["orders"]
    sold = ada.warm(f"/orders/sold/clock-36/{day}/").json["pieces"]
    placed = ada.post("/orders/new/", {"organization": "acme", "products": {"clock-4": 2, "clock-36": 3}})
    assert placed.status == 201, placed.text
    number = placed.json["number"]
    assert ada.get("/api/products/clock-4/").json["stock"] == stock - 2
    assert ada.get(f"/orders/sold/clock-36/{day}/").json["pieces"] == sold + 3
    assert ada.get("/orders/").json["orders"] == [number, *before]
    assert sorted((line["product"], line["quantity"]) for line in placed.json["lines"]) == [
        ("clock-36", 3),
        ("clock-4", 2),
    ]
    until(lambda: bool(ada.get(f"/orders/{number}/").json["confirmed"]))
    assert ada.warm(f"/orders/{number}/").queries == 0
    assert shop.visitor().log_in("ben").get(f"/orders/{number}/").status == 404
    assert ada.post(f"/orders/{number}/cancel/", {}).status == 200
    assert ada.get(f"/orders/{number}/").status == 404
    assert ada.get("/orders/").json["orders"] == before


def test_an_order_that_fails_leaves_nothing(ada: Browser) -> None:
    """Of two products one is not there in such numbers: the other's stock, the list and the counter stay."""
    day = datetime.now(UTC).date()
    watched = ["/api/products/radio-5/", "/api/products/radio-37/", "/orders/", f"/orders/sold/radio-37/{day}/"]
    before = [ada.warm(path).text for path in watched]
    refused = ada.post("/orders/new/", {"organization": "acme", "products": {"radio-37": 1, "radio-5": 100_000}})
    assert (refused.status, refused.json["error"]) == (409, "there are no 100000 of radio-5")
    assert ada.post("/orders/new/", {"organization": "acme", "products": {"nothing": 1}}).status == 409
    assert ada.post("/orders/new/", {"organization": "none", "products": {"radio-37": 1}}).status == 403
    assert [ada.get(path).text for path in watched] == before


def test_orders_at_once(shop: Shop) -> None:
    """Eight threads of two customers: no piece is counted twice, and every page says the same in the end."""
    day = datetime.now(UTC).date()
    visitors = [shop.visitor().log_in(name) for name in ("ada", "ben") for _ in range(2)]
    stock = visitors[0].get("/api/products/shelf-6/").json["stock"]
    sold = visitors[0].get(f"/orders/sold/shelf-6/{day}/").json["pieces"]

    def buy(n: int) -> tuple[int, Browser, str]:
        visitor = visitors[n % 4]
        visitor.get("/products/shelf-6/")
        reply = visitor.post("/orders/new/", {"organization": "acme", "products": {"shelf-6": 1}})
        assert reply.status == 201, reply.text
        left: int = visitor.get("/api/products/shelf-6/").json["stock"]
        return left, visitor, reply.json["number"]

    with ThreadPoolExecutor(8) as threads:
        bought = list(threads.map(buy, range(16)))
    assert min(left for left, _, _ in bought) >= stock - 16
    assert all(visitor.get("/api/products/shelf-6/").json["stock"] == stock - 16 for visitor in visitors)
    assert visitors[0].get(f"/orders/sold/shelf-6/{day}/").json["pieces"] == sold + 16
    for _, visitor, number in bought:
        until(lambda: bool(visitor.get(f"/orders/{number}/").json["confirmed"]))  # noqa: B023 - called at once


def test_options_of_a_user(shop: Shop) -> None:
    """Set, seen by the next page, unset; all of a request or none; those for an organization are apart."""
    ben = shop.visitor().log_in("ben")
    assert 'data-theme="light"' in ben.warm("/products/lamp-1/").text
    assert ben.post("/account/options/", {"theme": "dark", "size": 2}).json == {"options": {"theme": "dark", "size": 2}}
    assert 'data-theme="dark"' in ben.get("/products/lamp-1/").text
    assert ben.post("/account/options/?organization=acme", {"theme": "red"}).json["options"] == {"theme": "red"}
    assert ben.post("/account/options/?organization=none", {"theme": "red"}).status == 400
    assert 'data-theme="dark"' in ben.warm("/products/lamp-1/").text
    assert ben.warm("/products/lamp-1/").queries == 0
    assert ben.post("/account/options/", {"theme": None, "size": None}).json == {"options": {}}
    assert 'data-theme="light"' in ben.get("/products/lamp-1/").text


# -- writes of other processes ---------------------------------------------------------------------


@pytest.mark.parametrize("by", ["queryset", "sql", "driver"])
def test_another_process_writes_many_rows(by: str, shared: Shop, ada: Browser) -> None:
    """By a queryset exactly these rows are outdated, by SQL all of the table, by the driver what is said by hand."""
    slug, category = {
        "queryset": ("kettle-8", "kitchen-new"),
        "sql": ("lamp-9", "kitchen-used"),
        "driver": ("chair-10", "living-room-new"),
    }[by]
    other = "/products/teapot-7/"
    old = price(ada.warm(f"/products/{slug}/"))
    ada.warm(f"/categories/{category}/")
    ada.warm(other)
    printed = shared.manage("reprice", "50", "--category", category, "--by", by)
    assert {"queryset": "5 rows, told of 5", "sql": "5 rows", "driver": "5 rows, outdated by hand"}[by] in printed
    new = (old * Decimal("1.5")).quantize(Decimal("0.01"))
    assert abs(price(ada.get(f"/products/{slug}/")) - new) <= Decimal("0.01")
    assert f"by Acme, {price(ada.get(f'/products/{slug}/'))}" in ada.get(f"/categories/{category}/").text.replace(
        "Brown", "Acme"
    )
    if by == "queryset":
        assert ada.get(other).queries == 0


def test_another_process_deactivates_a_user(shared: Shop) -> None:
    """Her next request is that of nobody, although her session and her user are cached."""
    shared.manage("shell", "-v", "0", "-c", "from django.contrib.auth.models import User;"
                  f"User.objects.create_user('eve', password={PASSWORD!r})")  # fmt: skip
    eve = shared.visitor().log_in("eve")
    assert eve.warm("/account/").json["user"] == "eve"
    assert eve.get("/account/").queries == 0
    shared.manage("shell", "-v", "0", "-c", "from django.contrib.auth.models import User;"
                  "User.objects.filter(username='eve').update(is_active=False)")  # fmt: skip
    assert eve.get("/account/").status == 302


def test_another_process_rolls_back(shared: Shop, ada: Browser) -> None:
    """What was never committed outdates nothing: the warm page stays warm, and the price."""
    before = ada.warm("/products/kettle-16/")
    shared.manage("shell", "-v", "0", "-c", "from django.db import transaction; from catalogue.models import Product\n"
                  "with transaction.atomic():\n"
                  "    Product.objects.filter(slug='kettle-16').update(price=1)\n"
                  "    transaction.set_rollback(True)")  # fmt: skip
    after = ada.get("/products/kettle-16/")
    assert (after.text, after.queries) == (before.text, 0)


# -- operators -------------------------------------------------------------------------------------


def test_the_commands_of_operators(shop: Shop, ada: Browser) -> None:
    """Everything is in order, every cached row agrees with the database, and what stands there can be looked at."""
    ada.warm("/products/kettle-24/")
    assert "error" not in shop.manage("cachecore", "check")
    assert "outdated" not in shop.manage("cachecore", "verify", "--all")
    [counted] = json.loads(shop.manage("cachecore", "stats", "--json"))
    assert (counted["cache"], counted["reachable"], counted["journal"]) == ("default", True, {"default": 0})
    assert "lookup: " in shop.manage("cachecore", "key", "catalogue.Product", "slug=kettle-24")
    said = shop.manage("cachecore", "get", "catalogue.Product", "slug=kettle-24")
    shares = "SHOP_CACHE" in shop._environment
    assert ("a reader has a hit" in said) is shares
    assert "outdated" in shop.manage("cachecore", "invalidate", "catalogue.Product", "auth.User.1")
    assert (ada.get("/products/kettle-24/").queries > 0) is shares
    assert "0 notes of the cache" in shop.manage("cachecore", "replay")


def test_checks_and_migrations_are_complete(shop: Shop) -> None:
    """No system check has anything to say, and no migration is missing."""
    shop.manage("check", "--fail-level", "WARNING", "--database", "default")
    assert "No changes detected" in shop.manage("makemigrations", "--check", "--dry-run")


def test_a_model_is_switched_off_and_on(shop: Shop, root: Browser) -> None:
    """Its rows come from the database meanwhile, and what was cached before is as right afterwards."""
    page = "/api/products/lamp-33/"
    assert root.warm(page).queries == 0
    off = root.post("/operations/cache/", {"model": "catalogue.Product", "enabled": False})
    assert off.json["disabled"] == ["catalogue.Product"], off.text
    try:
        assert root.get(page).queries == 1
        change(root, "lamp-33", price="1.50")
        assert root.get(page).json["price"] == "1.50"
    finally:
        on = root.post("/operations/cache/", {"model": "catalogue.Product", "enabled": True})
    assert on.json["disabled"] == []
    assert on.json["outdated"]["catalogue.Product"] > 0
    assert root.get(page).json["price"] == "1.50"
    assert root.warm(page).queries == 0
    assert root.post("/operations/cache/", {"model": "auth.User", "enabled": True}).status == 400
    assert shop.visitor().get("/operations/cache/").status == 302


def test_switched_off_from_the_start(shop: Shop) -> None:
    """By the setting, for a process that begins: the models it names cost queries, warm or not."""
    pages = json.loads(shop.manage("costs", "--json", SHOP_DISABLED="catalogue.Product"))
    product = next(page for page in pages if page.startswith("/api/products/") and "?" not in page)
    assert [one["queries"] for one in pages[product]] == [1, 1, 1]


def test_staff_may_look_past_the_cache(ada: Browser, root: Browser) -> None:
    """?fresh=1 reads the database and leaves the cache as it is; for customers it means nothing."""
    page = "/products/chair-34/"
    warm = root.warm(page)
    assert root.get(f"{page}?fresh=1").queries > 0
    assert root.get(page).queries == 0
    assert root.get(f"{page}?fresh=1").text == warm.text
    assert ada.warm(f"{page}?fresh=1").queries == 0


def test_what_pages_cost(shop: Shop) -> None:
    """The command that measures: cold a few queries, warm none; and a round trip for each step, on a server."""
    for page, (cold, _, warm) in json.loads(shop.manage("costs", "--json")).items():
        assert (warm["queries"], warm["misses"]) == (0, 0), page
        assert cold["queries"] <= 10, page
        assert warm["operations"] <= 14, page
    assert "round trips" in shop.manage("costs")


def test_a_local_cache_for_requests(shared: Shop) -> None:
    """With SHOP_LOCAL=1 a request that needs a row twice asks the server once."""
    plain, local = (json.loads(shared.manage("costs", "--json", SHOP_LOCAL=on)) for on in ("0", "1"))
    assert all(local[page][2]["operations"] <= plain[page][2]["operations"] for page in plain)
    [order] = [page for page in plain if re.fullmatch(r"/orders/\w+/", page)]
    assert local[order][2]["operations"] < plain[order][2]["operations"]  # who asks is the customer


def test_while_the_cache_is_away(tmp_path: Path) -> None:
    """Pages answer, orders are placed, their keys are noted; when it is back a replay outdates the old rows."""
    with require(RedisServer) as server:
        url = f"{server.url}?timeout=0.5&breaker_window=0.1"
        shop = Shop(SHOP_DATABASE=str(tmp_path / "shop.sqlite3"), SHOP_CACHE=url)
        shop.set_up(products=8)
        with shop.serving(tmp_path / "server.log"):
            ada = shop.visitor().log_in("ada")
            stock = ada.warm("/api/products/kettle-0/").json["stock"]
            server.pause()
            reply = ada.post("/orders/new/", {"organization": "acme", "products": {"kettle-0": 1}})
            assert reply.status == 201, reply.text
            assert ada.get("/api/products/kettle-0/").json["stock"] == stock - 1
            assert "wait: " in shop.manage("cachecore", "replay", status=1)
            server.resume()
            shop.manage("cachecore", "replay")
            assert ada.get("/api/products/kettle-0/").json["stock"] == stock - 1
            assert "outdated" not in shop.manage("cachecore", "verify", "--all")


def test_what_is_wrong_is_said(shop: Shop, ada: Browser) -> None:
    """Commands and pages refuse what they cannot do, in a sentence."""
    assert "the shop has products already" in shop.manage("fill", status=1)
    assert "there is no category 'nowhere'" in shop.manage("reprice", "1", "--category", "nowhere", status=1)
    assert ada.get("/categories/nowhere/").status == 404
    assert ada.get("/api/products/nothing/").json == {"error": "no product 'nothing'"}
    assert shop.visitor().get("/orders/").status == 302
