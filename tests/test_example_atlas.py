"""The FastAPI example, run as its README says: two processes, one database, one cache, and whatever goes wrong."""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from cachecore.testing.server_group import ProcessGroup
from cachecore.testing.servers import MemcachedServer, PostgresServer, RedisServer, free_port
from tests.conftest import require

ROOT = Path(__file__).parent.parent


def until(happened: Callable[[], bool]) -> None:
    """Wait for what another process does."""
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


# -- processes -------------------------------------------------------------------------------------


class Application:
    """One process of the atlas, and a client that asks it."""

    def __init__(self, group: ProcessGroup, environment: dict[str, str]) -> None:
        self._group = group
        self._environment = environment
        self.port = free_port()
        self.log = group.folder / f"{self.port}.log"
        self.address = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(base_url=self.address, timeout=60)
        self.start()

    def start(self) -> None:
        """Begin to start it; see `wait`."""
        self.is_killed = False
        server = ["-m", "uvicorn", "examples.atlas.main:app", "--port", str(self.port), "--no-access-log"]
        with self.log.open("wb") as output:
            self.process = self._group.start([sys.executable, "-W", "error", *server], output, self._environment)

    def wait(self) -> None:
        """Until it answers, and not another process on its port."""
        until(lambda: self.process.poll() is not None or self._answers())
        assert self.process.poll() is None, self.log.read_text()

    def _answers(self) -> bool:
        try:
            return bool(self.client.get("/stats").json()["process"] == self.process.pid)
        except (httpx.TransportError, ValueError, KeyError):
            return False

    def kill(self) -> None:
        """End it as a crash does."""
        self.is_killed = True
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Ask it to end, and see that it has closed everything and nothing went wrong in its life."""
        self.process.terminate()
        self.process.wait(60)
        said = self.log.read_text()
        assert "Application shutdown complete" in said, said
        assert "Traceback" not in said, said
        assert "Warning" not in said, said

    def calling(self) -> httpx.AsyncClient:
        """A client that asks much at once."""
        return httpx.AsyncClient(base_url=self.address, timeout=60)

    # -- what is asked of it -----------------------------------------------------------------------

    def get(self, path: str, status: int = 200) -> Any:
        """The JSON that is there."""
        return self._json(self.client.get(path), status)

    def send(self, method: str, path: str, json: Any = None, *, status: int = 200) -> Any:
        """The JSON of the answer, if it has any."""
        return self._json(self.client.request(method, path, json=json), status)

    def _json(self, answer: httpx.Response, status: int) -> Any:
        assert answer.status_code == status, f"{answer.status_code}: {answer.text}"
        return answer.json() if answer.content else None

    def cost(self, path: str) -> tuple[int, int]:
        """Statements and misses that one read of a page takes, while nobody else asks this process."""
        before = self.get("/stats")
        self.get(path)
        after = self.get("/stats")
        return after["statements"] - before["statements"], after["misses"] - before["misses"]


@dataclass
class Fleet:
    """Processes of one atlas. Only tests with a Fleet of their own may end them, or the servers they need."""

    database: str
    processes: list[Application]

    @property
    def one(self) -> Application:
        return self.processes[0]

    @property
    def other(self) -> Application:
        """Another process; the same where the cache is in the process, which hears of no other."""
        return self.processes[-1]

    def city(self, slug: str = "", country: str = "no", **values: Any) -> dict[str, Any]:
        """A new city that no other test knows, warm in all processes."""
        name = f"{slug}{uuid.uuid4().hex[:12]}"
        asked = {"slug": name, "name": name, "country": country, **values}
        made: dict[str, Any] = self.one.send("POST", "/cities", asked, status=201)
        self.warm(*pages(made))
        return made

    def warm(self, *paths: str) -> None:
        """Ask until all processes answer from the cache alone."""
        for process in self.processes:
            for path in paths:
                until(lambda: process.cost(path) == (0, 0))  # noqa: B023 - called at once

    def sees(self, city: dict[str, Any]) -> None:
        """Every process shows it, in whatever way it is asked."""
        for process in self.processes:
            for path in pages(city):
                assert process.get(path) == city

    def execute(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """What another program does: past the application, and committed at once."""
        with psycopg.connect(self.database, autocommit=True) as connection:
            cursor = connection.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []


def pages(city: dict[str, Any]) -> list[str]:
    """The ways to ask for a city alone."""
    return [
        f"/cities/{city['id']}",
        f"/cities/by-slug/{city['slug']}",
        f"/countries/{city['country']}/{city['name']}",
    ]


def database_on(server: PostgresServer) -> str:
    """A new database on this server."""
    name = f"atlas_{uuid.uuid4().hex}"
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"postgresql://postgres@{server.host}:{server.port}/{name}"


def fill(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """The command that makes the tables."""
    command = [sys.executable, "-W", "error", "-m", "examples.atlas"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


@contextmanager
def serving(database: str, cache: str, number: int = 2, driver: str = "") -> Iterator[Fleet]:
    """So many processes serve a new atlas; none is left when the block ends, or this process."""
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
        "ATLAS_DATABASE": database.replace("postgresql", f"postgresql{driver}"),
        "ATLAS_CACHE": cache,
        "ATLAS_NAMESPACE": uuid.uuid4().hex,
    }
    fleet = Fleet(database, [])
    group = ProcessGroup("cachecore-atlas-")
    try:
        filled = fill(environment)
        assert filled.stdout.startswith("12 cities in "), filled.stdout + filled.stderr
        fleet.processes += [Application(group, environment) for _ in range(number)]
        for process in fleet.processes:
            process.wait()
        yield fleet
        for process in fleet.processes:
            if not process.is_killed:
                process.stop()
    finally:
        group.end()
        for process in fleet.processes:
            process.client.close()


SETTINGS = ["sqlite, memory", "sqlite, redis", "postgresql, redis", "postgresql+psycopg, memcached"]


@pytest.fixture(scope="module", params=SETTINGS)
def fleet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """The atlas for all tests that end nothing; each has cities of its own."""
    database, _, cache = request.param.partition(", ")
    database, plus, driver = database.partition("+")
    if database == "sqlite":
        location = f"sqlite:///{tmp_path_factory.mktemp('atlas') / 'atlas.sqlite3'}"
    else:
        location = database_on(request.getfixturevalue("postgres_server"))
    if cache == "memory":
        url, number = "memory://", 1
    else:
        url, number = f"{request.getfixturevalue(f'{cache}_server').url}?timeout=10", 2
    with serving(location, url, number, plus + driver) as made:
        yield made


on_postgresql = pytest.mark.parametrize("fleet", SETTINGS[2:], indirect=True)
"""For tests in which another program uses the database too."""


# -- reading ---------------------------------------------------------------------------------------


def test_a_warm_page_asks_the_database_nothing(fleet: Fleet) -> None:
    """By key, by slug, by country and name, or many: neither for the cities nor for their countries."""
    asked = {"/cities/1": 2, "/cities/by-slug/bergen": 2, "/countries/fr/Lyon": 2, "/cities?id=3&id=2": 3}
    for path, rows in asked.items():
        fleet.warm(path)
        for process in fleet.processes:
            before = process.get("/stats")
            process.get(path)
            after = process.get("/stats")
            assert (after["statements"], after["misses"]) == (before["statements"], before["misses"])
            assert after["hits"] - before["hits"] >= rows


def test_what_pages_say(fleet: Fleet) -> None:
    """Cold or warm, however it is asked; many in the order asked, as often as asked, without those there are not."""
    oslo, bergen = (fleet.other.get(f"/cities/by-slug/{slug}") for slug in ("oslo", "bergen"))
    assert (oslo["name"], oslo["country"], oslo["version"]) == ("Oslo", "no", 1)
    fleet.sees(oslo)
    ids = [bergen["id"], oslo["id"], 99_999, bergen["id"]]
    assert fleet.one.get("/cities?" + "&".join(f"id={id}" for id in ids)) == [bergen, oslo, bergen]
    assert fleet.one.get("/cities?id=99999") == []
    [road] = [road for road in fleet.other.get("/roads") if road["kilometres"] == 209]
    assert road == {"origin": "Bergen", "destination": "Stavanger", "kilometres": 209}


def test_a_list_is_one_query_and_one_for_each_relation_that_is_not_cached(fleet: Fleet) -> None:
    """Eight roads, each with two cities: 17 queries are three when all is cold, and one when it is warm."""
    for id in range(1, 13):
        fleet.one.send("POST", f"/cities/{id}/outdate", status=204)
    assert fleet.other.cost("/roads")[0] == 3
    assert fleet.other.cost("/roads") == (1, 0)
    assert fleet.one.cost("/roads") == (1, 0)


@pytest.mark.parametrize(
    "path",
    [
        "/cities/99999",
        f"/cities/{2**31 - 1}",
        "/cities/by-slug/nowhere",
        "/countries/no/Nowhere",
        "/countries/no/%F0%9F%97%BA",
        "/countries/xx/Oslo",
    ],
)
def test_what_does_not_exist_is_not_found(path: str, fleet: Fleet) -> None:
    """A 404 in every process, each time."""
    for process in [*fleet.processes, *fleet.processes]:
        assert "detail" in process.get(path, status=404)


@pytest.mark.parametrize(
    "path",
    [
        "/cities/oslo",
        f"/cities/{2**31}",
        f"/cities?id=1&id={2**80}",
        "/cities/by-slug/%00",
        "/cities/by-slug/" + "x" * 3000,
        "/countries/no/%00",
    ],
)
def test_what_no_column_can_hold_is_no_question(path: str, fleet: Fleet) -> None:
    """It is refused before anybody is asked."""
    before = fleet.one.get("/stats")
    fleet.one.get(path, status=422)
    assert fleet.one.get("/stats") == before


def test_writes_of_what_does_not_exist_are_not_found(fleet: Fleet) -> None:
    """And what is no request at all is said to be none."""
    fleet.one.send("PATCH", "/cities/nowhere", {"name": "Somewhere"}, status=404)
    fleet.one.send("DELETE", "/cities/nowhere", status=404)
    fleet.one.send("POST", "/countries/xx/census", {"percent": 1}, status=404)
    fleet.one.send("POST", "/cities", {"slug": "new", "name": "New", "country": "xx"}, status=404)
    fleet.one.send("POST", "/moves", {"origin": "oslo", "destination": "nowhere", "people": 1}, status=404)
    fleet.one.send("POST", "/cities", {"slug": "New!", "name": "", "country": "no"}, status=422)


# -- what one process writes, the other serves at once -----------------------------------------------


def test_a_new_city_is_there_at_once(fleet: Fleet) -> None:
    """Although all processes have just been told that there is none."""
    slug = f"new-{uuid.uuid4().hex[:8]}"
    for process in fleet.processes:
        process.get(f"/cities/by-slug/{slug}", status=404)
    asked = {"slug": slug, "name": slug.title(), "country": "fr", "population": 7}
    made = fleet.one.send("POST", "/cities", asked, status=201)
    assert made == {**asked, "id": made["id"], "version": 1}
    fleet.sees(made)


def test_a_renamed_city_is_new_at_once(fleet: Fleet) -> None:
    """Under its key, its new slug and its new name; under the old ones there is nothing. Twelve times, by turns."""
    city = fleet.city()
    for turn in range(12):
        writer, reader = (fleet.one, fleet.other) if turn % 2 else (fleet.other, fleet.one)
        old, name = pages(city), uuid.uuid4().hex
        city = writer.send("PATCH", f"/cities/{city['slug']}", {"slug": name, "name": name.upper()})
        assert (city["slug"], city["name"], city["version"]) == (name, name.upper(), turn + 2)
        assert reader.get(old[0]) == city
        for gone in old[1:]:
            reader.get(gone, status=404)
        fleet.sees(city)


def test_a_deleted_city_is_gone_at_once(fleet: Fleet) -> None:
    """However it is asked for, and from lists; one that gets its slug afterwards is another one."""
    city = fleet.city(country="fr")
    assert fleet.other.send("DELETE", f"/cities/{city['slug']}", status=204) is None
    for process in fleet.processes:
        for path in pages(city):
            process.get(path, status=404)
        assert process.get(f"/cities?id={city['id']}&id=1") == [process.get("/cities/1")]
    again = {key: city[key] for key in ("slug", "name", "country")}
    fleet.sees(fleet.other.send("POST", "/cities", again, status=201))


def test_one_update_of_many_rows_outdates_all_of_them(fleet: Fleet) -> None:
    """And no others: the cities of another country stay cached."""
    cities = [fleet.city(country="jp", population=1000 + n) for n in range(5)]
    spared = fleet.city(country="fr")
    assert fleet.one.send("POST", "/countries/jp/census", {"percent": 10}) >= 5
    asked = "&".join(f"id={city['id']}" for city in cities)
    for process in reversed(fleet.processes):
        assert process.cost(f"/cities/{spared['id']}") == (0, 0)
        assert [city["population"] for city in process.get(f"/cities?{asked}")] == [1100, 1101, 1102, 1103, 1104]


def test_sql_as_a_text_outdates_the_table_that_it_names(fleet: Fleet) -> None:
    """The session has not been told what it writes, but it can be read."""
    city = fleet.city()
    name = city["name"]
    fleet.one.send("PATCH", f"/cities/{city['slug']}", {"name": f"  {name} "})
    fleet.warm(f"/cities/{city['id']}")
    assert fleet.other.get(f"/cities/{city['id']}")["name"] == f"  {name} "
    fleet.one.send("POST", "/tidy", status=204)
    fleet.sees({**city, "version": 2})


@on_postgresql
def test_what_another_program_writes_is_outdated_by_hand(fleet: Fleet) -> None:
    """Nobody can see it, so all processes show the old row until one of them is told; then none does."""
    city = fleet.city()
    fleet.execute("UPDATE city SET population = 5 WHERE id = %s", city["id"])
    fleet.sees(city)
    fleet.other.send("POST", f"/cities/{city['id']}/outdate", status=204)
    fleet.sees({**city, "population": 5})


# -- transactions ------------------------------------------------------------------------------------


def test_people_move(fleet: Fleet) -> None:
    """Two rows in one transaction: both are new at once, in all processes."""
    here, there = fleet.city("a-", population=10), fleet.city("b-", population=5)
    asked = {"origin": here["slug"], "destination": there["slug"], "people": 4}
    assert fleet.one.send("POST", "/moves", asked) == {here["slug"]: 6, there["slug"]: 9}
    fleet.sees({**here, "population": 6})
    fleet.sees({**there, "population": 9})


def test_what_is_rolled_back_has_never_been(fleet: Fleet) -> None:
    """The first city was written when the second one refused: no row has changed, and both are as warm as before."""
    there, here = fleet.city("a-", population=5), fleet.city("b-", population=10)
    asked = {"origin": here["slug"], "destination": there["slug"], "people": 11}
    fleet.one.send("POST", "/moves", asked, status=409)
    for process in fleet.processes:
        for city in (here, there):
            assert [process.cost(path) for path in pages(city)] == [(0, 0)] * 3
    fleet.sees(here)
    fleet.sees(there)


def test_a_name_that_is_taken_is_refused(fleet: Fleet) -> None:
    """By the database, when the INSERT or UPDATE is sent; who has it stays as warm as before."""
    has, wants = fleet.city(), fleet.city()
    fleet.one.send("POST", "/cities", {"slug": has["slug"], "name": "another", "country": "no"}, status=409)
    fleet.one.send("PATCH", f"/cities/{wants['slug']}", {"name": has["name"]}, status=409)
    for process in fleet.processes:
        for city in (has, wants):
            assert process.cost(f"/cities/by-slug/{city['slug']}") == (0, 0)
    fleet.sees(has)
    fleet.sees(wants)


# -- all at once -------------------------------------------------------------------------------------


@dataclass
class Register:
    """A number that only grows, whose writers and readers are many: what may be read, at least and at most."""

    highest: int = 0
    """That anybody has been told of, by the answer to a write or to a read."""
    started: int = 0
    """How many writes of one each have begun."""
    values: set[int] = field(default_factory=set)

    def told(self, value: int, least: int) -> None:
        """A read has ended with this value; ``least`` was the highest one when it began."""
        assert value >= least, "stale"
        assert value <= self.started, "never committed"
        self.highest = max(self.highest, value)
        self.values.add(value)


async def answer(client: httpx.AsyncClient, path: str) -> Any:
    """The JSON that is there."""
    found = await client.get(path)
    assert found.status_code == 200, found.text
    return found.json()


async def read(register: Register, client: httpx.AsyncClient, city: dict[str, Any], ended: asyncio.Event) -> None:
    """Read a city in all ways, until it has ended."""
    while not ended.is_set():
        for path in [*pages(city), f"/cities?id={city['id']}"]:
            least = register.highest
            found = await answer(client, path)
            register.told((found[0] if isinstance(found, list) else found)["population"], least)


async def write(register: Register, client: httpx.AsyncClient, asked: dict[str, Any], times: int) -> None:
    """Move one person at a time, and be told of it."""
    for _ in range(times):
        register.started += 1
        moved = await client.post("/moves", json=asked)
        assert moved.status_code == 200, moved.text
        register.highest = max(register.highest, moved.json()[asked["destination"]])


async def fail(client: httpx.AsyncClient, asked: dict[str, Any], ended: asyncio.Event) -> None:
    """Move many who do not exist: they have arrived when the transaction learns it."""
    while not ended.is_set():
        moved = await client.post("/moves", json={**asked, "people": 1_000_000})
        assert moved.status_code == 409, moved.text


async def test_no_read_is_older_than_the_answer_to_a_write(fleet: Fleet) -> None:
    """Nor than that to a read, nor uncommitted: readers, writers and rollbacks at once in all processes."""
    there, here = fleet.city("a-"), fleet.city("b-", population=500)
    asked = {"origin": here["slug"], "destination": there["slug"], "people": 1}
    register, ended = Register(), asyncio.Event()
    async with fleet.one.calling() as one, fleet.other.calling() as other, asyncio.TaskGroup() as tasks:
        for client in (one, other):
            for _ in range(3):
                tasks.create_task(read(register, client, there, ended))
            tasks.create_task(fail(client, asked, ended))
        await asyncio.wait([tasks.create_task(write(register, client, asked, 40)) for client in (one, other, other)])
        ended.set()
    assert register.highest == 120
    assert len(register.values) > 10, "the readers have seen it grow"
    fleet.sees({**there, "population": 120})
    fleet.sees({**here, "population": 380})


def test_two_who_rename_a_city_at_once_do_not_both_succeed(fleet: Fleet) -> None:
    """Each version was made by one of them; the others are refused, and the last one made is what everybody reads."""
    city = fleet.city()

    def rename(n: int) -> dict[str, Any] | None:
        process = fleet.processes[n % len(fleet.processes)]
        answer = process.client.patch(f"/cities/{city['slug']}", json={"name": f"{city['name']}-{n}"})
        assert answer.status_code in (200, 409), answer.text
        return answer.json() if answer.status_code == 200 else None

    with ThreadPoolExecutor(6) as threads:
        renamed = [made for made in threads.map(rename, range(24)) if made]
    versions = [made["version"] for made in renamed]
    assert sorted(versions) == list(range(2, len(renamed) + 2))
    fleet.sees(max(renamed, key=lambda made: made["version"]))


# -- the cache is away -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["redis", "memcached"])
def test_while_the_cache_is_away(kind: str, postgres_server: PostgresServer) -> None:
    """It hangs, or it is gone: no read fails, a write is refused and leaves nothing; when it is back all is right."""
    with require(RedisServer if kind == "redis" else MemcachedServer) as server:
        url = f"{server.url}?timeout=0.5&breaker_window=0.1"
        with serving(database_on(postgres_server), url) as fleet:
            # One that hung comes back with what it was last asked, marks of readers and writers who had given up: for
            # as long as these live, 15 seconds, the rows come from the database. So each time has a country of its own.
            for away, back, country in [(server.pause, server.resume, "no"), (server.kill, server.start, "fr")]:
                city = fleet.city(country=country)
                away()
                fleet.sees(city)
                changed = {"population": 1, "name": f"{city['name']}-b"}
                refused = fleet.one.client.patch(f"/cities/{city['slug']}", json=changed)
                assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1"), refused.text
                fleet.sees(city)
                assert fleet.other.get("/stats")["failures"] > 0
                back()
                until(lambda: fleet.one.client.patch(f"/cities/{city['slug']}", json=changed).status_code == 200)  # noqa: B023
                city = fleet.one.get(f"/cities/{city['id']}")
                assert (city["name"], city["version"]) == (changed["name"], 2)
                fleet.sees(city)
            fleet.warm(*pages(city))


def test_a_cache_that_comes_back_with_old_rows_is_not_believed(postgres_server: PostgresServer) -> None:
    """It has saved its rows, then one was renamed, then it was killed: what it comes back with is the old row."""
    with (
        require(RedisServer) as server,
        serving(database_on(postgres_server), f"{server.url}?breaker_window=0.1") as fleet,
    ):
        city = fleet.city()
        server.call("SAVE")
        city = fleet.one.send("PATCH", f"/cities/{city['slug']}", {"name": f"{city['name']}-b"})
        fleet.sees(city)
        server.kill()
        server.start()
        assert server.call("DBSIZE") != 0
        fleet.sees(city)
        fleet.sees(city)


# -- a process is killed -----------------------------------------------------------------------------

# COMMIT of an UPDATE of one city waits for a lock that a test has.
GATE = """
CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM pg_advisory_xact_lock(42); RETURN NULL; END
$$;
CREATE CONSTRAINT TRIGGER gate AFTER UPDATE ON city DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.slug = '{slug}') EXECUTE FUNCTION gate()
"""


@pytest.fixture
def mortal(fleet: Fleet) -> Iterator[Fleet]:
    """The atlas, of which the test may kill processes."""
    yield fleet
    for process in fleet.processes:
        if process.is_killed:
            process.start()
            process.wait()


@contextmanager
def inside_commit(fleet: Fleet, city: dict[str, Any], name: str) -> Iterator[Any]:
    """The first process has sent a COMMIT that renames a city, and waits for it until the block ends; the request."""
    fleet.execute(GATE.format(slug=city["slug"]))
    with psycopg.connect(fleet.database, autocommit=True) as gate, ThreadPoolExecutor(1) as thread:
        gate.execute("SELECT pg_advisory_lock(42)")
        waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        request = thread.submit(fleet.one.client.patch, f"/cities/{city['slug']}", json={"name": name})
        until(lambda: bool(gate.execute(waiting).fetchall()))
        try:
            yield request
        finally:
            gate.execute("SELECT pg_advisory_unlock(42)")
    fleet.execute("DROP FUNCTION gate CASCADE")


@on_postgresql
def test_nobody_waits_for_a_commit_that_takes_long(fleet: Fleet) -> None:
    """Others read the old row meanwhile, as the database shows it, and the new one when the writer is answered."""
    city = fleet.city()
    with inside_commit(fleet, city, "late-a") as request:
        fleet.sees(city)
        assert not request.done(), "the answer comes after the commit"
    renamed = request.result().json()
    assert renamed == {**city, "name": "late-a", "version": 2}
    fleet.sees(renamed)


@on_postgresql
def test_a_process_that_is_killed_inside_a_commit(mortal: Fleet) -> None:
    """Nobody is left to outdate the row that PostgreSQL commits after all: the others read the new one."""
    city = mortal.city()
    with inside_commit(mortal, city, "late") as request:
        for path in pages(city):
            assert mortal.other.get(path) == city
        mortal.one.kill()
        with pytest.raises(httpx.TransportError):
            request.result()
        assert mortal.other.get(f"/cities/{city['id']}") == city
    until(lambda: mortal.execute("SELECT name FROM city WHERE id = %s", city["id"]) == [("late",)])
    city = {**city, "name": "late", "version": 2}
    for path in [*pages(city), *pages(city)]:
        assert mortal.other.get(path) == city
    city = mortal.other.send("PATCH", f"/cities/{city['slug']}", {"name": "later", "slug": f"{city['slug']}-b"})
    mortal.one.start()
    mortal.one.wait()
    mortal.sees(city)


@on_postgresql
async def test_a_process_that_is_killed_at_work(mortal: Fleet) -> None:
    """Whatever its writers and readers were just doing: the other one goes on, and shows nothing old."""
    there, here = mortal.city("a-"), mortal.city("b-", population=500)
    asked = {"origin": here["slug"], "destination": there["slug"], "people": 1}
    register, ended = Register(), asyncio.Event()

    async def until_killed(work: Any) -> None:
        with contextlib.suppress(httpx.TransportError):
            await work

    async with mortal.one.calling() as one, mortal.other.calling() as other, asyncio.TaskGroup() as tasks:
        for _ in range(2):
            tasks.create_task(until_killed(write(register, one, asked, 200)))
            tasks.create_task(until_killed(read(register, one, there, ended)))
            tasks.create_task(read(register, other, there, ended))
        while register.highest < 20:
            await answer(other, "/stats")
        mortal.one.kill()
        await write(register, other, asked, 20)
        ended.set()
    [(population,)] = mortal.execute("SELECT population FROM city WHERE id = %s", there["id"])
    assert register.highest <= population <= register.started
    assert mortal.other.get(f"/cities/{there['id']}")["population"] == population
    mortal.one.start()
    mortal.one.wait()
    mortal.sees({**there, "population": population})


# -- its command -------------------------------------------------------------------------------------


def test_an_atlas_is_filled_once(tmp_path: Path) -> None:
    """A second time the command says that there are cities already, and adds none."""
    environment = {
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
        "ATLAS_DATABASE": f"sqlite:///{tmp_path / 'atlas.sqlite3'}",
    }
    assert fill(environment).stdout.startswith("12 cities in sqlite+aiosqlite:///")
    again = fill(environment)
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr.endswith("atlas.sqlite3 has cities already\n")
