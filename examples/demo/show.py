"""The three runs, the look at what is left when all is quiet, and the table."""

from collections.abc import Callable, Iterable
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from examples.demo.application import Application, City, Get
from examples.demo.load import World, load, read
from examples.demo.replay import NaiveCache, Outcome, replay, state_of, warm_up

WIDTH = 118
"""Columns where there is no terminal to ask."""


def show(
    application: Application, *, seconds: float, lookups: int | None, seed: int, largest: int | None, warm: int
) -> int:
    """Do everything and print it; the exit status. The application is closed then.

    largest: so many cities instead of all.
    warm: so many of them stand in the caches when a run begins.

    Raises CachecoreError if the cache cannot be used.
    """
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH)
    try:
        application.cache.gets("is anybody there?")
        world = load_cities(application, console, largest)
        naive = NaiveCache(application)
        outcomes: list[Outcome] = []
        ways: list[tuple[str, Get, Callable[[World, int], None]]] = [
            ("no cache", application.get, lambda world, count: None),
            ("cachecore", application.get_from_cache, partial(warm_up, application)),
            ("control", naive.get, naive.warm_up),
        ]
        with bar(console) as progress:
            for name, get, prepare in ways:
                task = progress.add_task(name, total=1.0)
                prepare(world, warm)
                outcomes.append(
                    replay(
                        name,
                        get,
                        application,
                        world,
                        seed,
                        seconds=seconds,
                        lookups=lookups,
                        progress=lambda share, task=task: progress.update(task, completed=share),
                        until_stale=name == "control",
                    )
                )
                if name == "cachecore":
                    cached_at_rest(outcomes[-1], application, world)
                elif name == "control":
                    naive_at_rest(outcomes[-1], application, world, naive)
        console.print(table(outcomes, min(warm, len(world.cities))))
        console.print("", *meaning(application.implementation, *outcomes), sep="\n")
        _, ours, control = outcomes
        good = not any(one.wrong for one in outcomes) and not ours.stale and not ours.stale_at_rest
        return 0 if good and control.stale else 1
    finally:
        application.close()


def bar(console: Console) -> Progress:
    """A progress bar for each of the three runs."""
    return Progress(
        TextColumn("{task.description:34}"), BarColumn(), TimeElapsedColumn(), console=console, transient=True
    )


def load_cities(application: Application, console: Console, largest: int | None) -> World:
    """Read the cities and store them."""
    countries, cities = read()
    cities = cities[:largest]
    application.create_tables()
    columns = (TextColumn("{task.description:34}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("cities of GeoNames into SQLite", total=len(cities))
        return load(application, countries, cities, lambda count: progress.advance(task, count))


def cached_at_rest(outcome: Outcome, application: Application, world: World) -> None:
    """Ask for all cities through the cache, now that nobody writes, and compare with a query of all."""
    statistics = application.cache.statistics
    hits = statistics.hits
    rows = application.get_many_from_cache(list(world.cities))
    outcome.rows_at_rest = statistics.hits - hits  # the others came from the database just now
    compare(outcome, application, world, rows)


def naive_at_rest(outcome: Outcome, application: Application, world: World, naive: NaiveCache) -> None:
    """The same for the control."""
    rows = naive.rows()
    compare(outcome, application, world, rows)
    outcome.rows_at_rest = len(rows)


def compare(outcome: Outcome, application: Application, world: World, rows: Iterable[City]) -> None:
    """Count the rows that are not as the database has them."""
    database = {row.id: state_of(row) for row in application.largest(len(world.cities))}
    outcome.stale_at_rest = sum(state_of(row) != database[row.id] for row in rows)


def table(outcomes: Iterable[Outcome], warm: int) -> Table:
    """The figures of the runs, one below the other."""
    found = Table(
        title="\nLookups of cities by primary key, slug, or country and name, in proportion to their people",
        caption=f"cachecore, and the control (get/set, no invalidation), begin with the {warm:,} largest",
    )
    found.add_column("")
    for name in ("queries", "hit ratio", "p50 µs", "p99 µs", "lookups/s", "answers compared", "stale"):
        found.add_column(name, justify="right")
    found.add_column("stale at rest", justify="right")
    for one in outcomes:
        colour = "red" if one.stale or one.wrong else "green"
        found.add_row(
            one.name,
            f"{one.queries:,}",
            f"{one.hit_ratio:.1%}",
            f"{one.percentile(50):,.1f}",
            f"{one.percentile(99):,.1f}",
            f"{one.lookups_a_second:,.0f}",
            f"{one.lookups:,}",
            f"[{colour}]{one.stale:,}[/]" + (f" [red](+ {one.wrong:,} wrong)[/]" if one.wrong else ""),
            f"{one.stale_at_rest:,} of {one.rows_at_rest:,}" if one.rows_at_rest else "",
        )
    return found


def meaning(implementation: str, database: Outcome, ours: Outcome, control: Outcome) -> Iterable[str]:
    """What the table says, in sentences."""
    commits = sum(one.commits for one in (database, ours, control))
    rollbacks = sum(one.rollbacks for one in (database, ours, control))
    faster = database.percentile(50) / ours.percentile(50)
    yield (
        f"Meanwhile a second thread renamed and moved cities: {commits:,} transactions committed, {rollbacks:,} rolled "
        "back. Every answer was compared with what had been committed before it was asked for: an older one is stale."
    )
    broken = ours.stale or ours.wrong or ours.stale_at_rest
    verdict = "[red]the promise was broken[/]" if broken else "not one answer was stale, also when all was quiet"
    yield (
        f"cachecore ({implementation}): {verdict}. Half of its lookups took less than "
        f"{ours.percentile(50):.1f} µs, {faster:,.0f} times as fast as the database."
    )
    if control.stale:
        yield (
            f"The control, which forgets to invalidate, gave {control.stale:,} stale answers to the same questions, "
            f"one of {control.lookups / control.stale:,.0f}: the comparison can tell."
        )
    else:
        yield "[red]The control gave no stale answer, so this run proves nothing: give it more --seconds.[/]"
