"""The rows that everybody reads and writes, and how PostgreSQL numbers and keeps each of their states.

Theory of operation. Whether an answer was stale can only be judged if every state of a row has a number that rises in
the order of the commits, however it was written: by the ORM, in bulk, in autocommit, by a process that was killed. So
a trigger gives it: ``nextval`` of one sequence, with the row's lock held. No number is given twice, so one that was
rolled back is told from one that was committed. The trigger also writes the state into a log, in the same transaction:
in the end this log is what was committed, whatever became of the writers. And it tells the writer by a NOTICE, which
costs no round trip.

Rows that may take over each other's slugs form a group with a pool of slugs. Who changes a slug, inserts or deletes
holds the lock of the group's row from before the statement, so the numbers rise for each slug too.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

GROUP = 2
"""Rows that share a pool of slugs."""
POOL = 5
"""Slugs in it: there are always some that are free."""

SCHEMA = """
CREATE TABLE bench_row (
    id bigint PRIMARY KEY, slug varchar(40) NOT NULL UNIQUE, version bigint NOT NULL, number integer NOT NULL,
    name varchar(100) NOT NULL, price numeric(12, 2) NOT NULL, active boolean NOT NULL, changed timestamptz NOT NULL,
    note text NOT NULL);
CREATE TABLE bench_group (id bigint PRIMARY KEY);
CREATE TABLE bench_log (version bigint PRIMARY KEY, transaction xid8, pk bigint, old_slug text, new_slug text);
CREATE SEQUENCE bench_version;
CREATE FUNCTION bench_state() RETURNS trigger AS $$
DECLARE
    state bigint := nextval('bench_version');
BEGIN
    IF TG_OP = 'DELETE' THEN
        INSERT INTO bench_log VALUES (state, pg_current_xact_id(), OLD.id, OLD.slug, NULL);
        RAISE NOTICE 'bench % % % -', state, OLD.id, OLD.slug;
        RETURN OLD;
    END IF;
    NEW.version := state;
    IF TG_OP = 'INSERT' THEN
        INSERT INTO bench_log VALUES (state, pg_current_xact_id(), NEW.id, NULL, NEW.slug);
        RAISE NOTICE 'bench % % - %', state, NEW.id, NEW.slug;
    ELSE
        INSERT INTO bench_log VALUES (state, pg_current_xact_id(), NEW.id, OLD.slug, NEW.slug);
        RAISE NOTICE 'bench % % % %', state, NEW.id, OLD.slug, NEW.slug;
    END IF;
    RETURN NEW;
END $$ LANGUAGE plpgsql;
CREATE TRIGGER bench_state BEFORE INSERT OR UPDATE OR DELETE ON bench_row FOR EACH ROW EXECUTE FUNCTION bench_state();
"""


class State(NamedTuple):
    """What a reader sees of a row."""

    pk: int
    slug: str
    version: int


class Event(NamedTuple):
    """One statement's change of one row. The slug is None where there is no row."""

    version: int
    pk: int
    old_slug: str | None
    new_slug: str | None


_TOLD = re.compile(r"bench (\d+) (\d+) (\S+) (\S+)")


def told(notice: str) -> Event | None:
    """The event in a NOTICE of the trigger; None for any other notice."""
    found = _TOLD.fullmatch(notice)
    if found is None:
        return None
    version, pk, old, new = found.groups()
    return Event(int(version), int(pk), None if old == "-" else old, None if new == "-" else new)


@dataclass(frozen=True)
class World:
    """``rows`` rows, primary keys from 1, an even number. An *object* is what can be asked for: a row or a slug."""

    rows: int

    @property
    def objects(self) -> int:
        """How many there are: first the rows, then the slugs."""
        return self.rows + self.rows // GROUP * POOL

    def row(self, pk: int) -> int:
        """The object of a primary key."""
        return pk - 1

    def slug(self, slug: str) -> int:
        """The object of a slug."""
        group, _, number = slug[1:].partition("-")
        return self.rows + int(group) * POOL + int(number)

    def name(self, thing: int) -> int | str:
        """The primary key or slug of an object."""
        if thing < self.rows:
            return thing + 1
        group, number = divmod(thing - self.rows, POOL)
        return f"g{group}-{number}"

    def group(self, pk: int) -> int:
        """The group of a row."""
        return (pk - 1) // GROUP

    def group_of(self, slug: str) -> int:
        """The group that a slug belongs to."""
        return int(slug[1:].partition("-")[0])

    def members(self, group: int) -> range:
        """The primary keys of a group."""
        return range(group * GROUP + 1, (group + 1) * GROUP + 1)

    def pool(self, group: int) -> list[str]:
        """The slugs of a group."""
        return [f"g{group}-{number}" for number in range(POOL)]

    def touched(self, event: Event) -> Iterator[tuple[int, bool]]:
        """(object, whether it is there now) for each object that an event has changed."""
        yield self.row(event.pk), event.new_slug is not None
        if event.old_slug is not None and event.old_slug != event.new_slug:
            yield self.slug(event.old_slug), False
        if event.new_slug is not None and event.old_slug != event.new_slug:
            yield self.slug(event.new_slug), True

    def popularity(self) -> list[float]:
        """Cumulative weights of the rows by zipf(0.9)."""
        return list(accumulate(rank**-0.9 for rank in range(1, self.rows + 1)))


def create(dsn: str, database: str, world: World) -> str:
    """Make a database of that name with all rows in it; returns its dsn."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        name = sql.Identifier(database)
        connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
        # A deadlock is to be found soon; so is a client that was killed.
        for setting in ("deadlock_timeout = '100ms'", "client_connection_check_interval = '100ms'"):
            connection.execute(sql.SQL("ALTER DATABASE {} SET " + setting).format(name))
    made = make_conninfo(dsn, dbname=database)
    with psycopg.connect(made) as connection:
        connection.execute(SCHEMA)
        for group in range(world.rows // GROUP):
            connection.execute("INSERT INTO bench_group VALUES (%s)", [group])
            for pk, slug in zip(world.members(group), world.pool(group), strict=False):
                connection.execute(
                    "INSERT INTO bench_row VALUES (%s, %s, 0, 0, %s, 12.5, true, now(), 'As it was in the beginning.')",
                    [pk, slug, f"Row {pk}"],
                )
    return made


def states(connection: psycopg.Connection[Any]) -> dict[int, State]:
    """The rows that there are, by primary key."""
    return {
        pk: State(pk, slug, version)
        for pk, slug, version in connection.execute("SELECT id, slug, version FROM bench_row")
    }


def log(connection: psycopg.Connection[Any]) -> Iterator[tuple[Event, int]]:
    """(event, transaction) of all that was committed, in the order of the versions."""
    query = "SELECT version, pk, old_slug, new_slug, transaction::text::bigint FROM bench_log ORDER BY version"
    for *event, transaction in connection.execute(query):
        yield Event(*event), transaction
