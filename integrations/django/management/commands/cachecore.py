"""``manage.py cachecore``: what operators do with the caches.

``check``       is everything in order: settings, servers, clock, journal
``key``         the keys of a question
``get``         what the cache holds for a question
``invalidate``  outdate rows
``stats``       what caches and journals tell
``verify``      compare cached rows with the database
``replay``      outdate what the journal has noted while a cache could not be reached

Exit status 1 means that something is wrong, for cron.
"""

import json
from argparse import SUPPRESS, ArgumentParser
from collections.abc import Iterator, Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections, models

from cachecore.errors import CachecoreError, UncacheableLookup
from cachecore.integrations.django.conf import configured
from cachecore.integrations.django.declaration import all_declared
from cachecore.integrations.django.journal import databases, replay_notes, unknown_caches
from cachecore.integrations.django.journal.notes import has_table
from cachecore.integrations.django.operators import health
from cachecore.integrations.django.operators.audit import audit
from cachecore.integrations.django.operators.audit_report import AuditReport
from cachecore.integrations.django.operators.inspect_cache import Found, cached_model, cached_rows, keys_of, look
from cachecore.integrations.django.operators.progress import progress
from cachecore.integrations.django.writing.invalidation import outdate

QUESTION = 'such as geo.City slug=oslo, geo.City pk=42 or geo.City country=1 "name=Los Angeles"'


class Command(BaseCommand):
    """The command."""

    help = "What operators do with the caches of CACHECORE."
    requires_system_checks = ()  # notes must not wait because of a mistake in some model

    def add_arguments(self, parser: CommandParser) -> None:
        """Each task is a word of its own."""
        tasks = parser.add_subparsers(dest="task", metavar="task", required=True)

        def task(name: str, help_text: str, more: str = "", *, database: bool = True) -> ArgumentParser:
            made: ArgumentParser = tasks.add_parser(name, help=help_text, description=f"{help_text} {more}".strip())
            # Those of all commands stand before the task; this one is convenient after it.
            made.add_argument("-v", "--verbosity", type=int, choices=range(4), default=SUPPRESS, help="0: say nothing")
            if database:
                made.add_argument("--database", metavar="ALIAS", choices=list(connections), help="the rows of this one")
            return made

        task("check", "Is everything in order?", "Exits with 1 if there are errors.", database=False)
        for name, help_text in (("key", "The keys of a question."), ("get", "What the cache holds for a question.")):
            asking = task(name, help_text, "Nothing is changed by it.")
            asking.add_argument("model", metavar="app.Model")
            asking.add_argument("question", metavar="field=value", nargs="+", help=QUESTION)
        chosen = task("invalidate", "Outdate rows that were changed where nobody could see it.")
        chosen.add_argument("targets", metavar="app.Model[.pk]", nargs="+", help="all rows of a model, or one")
        stats = task("stats", "What caches and journals tell, and the counters of this process.", database=False)
        stats.add_argument("--json", action="store_true", help="as one JSON document")
        verify = task(
            "verify",
            "Compare cached rows with the database.",
            "Prints how many nines of them agree, and every difference. Exits with 1 if there is one.",
        )
        verify.add_argument("models", metavar="app.Model", nargs="*", help="default: every cached model")
        which = verify.add_mutually_exclusive_group()
        which.add_argument(
            "--sample", type=_positive, default=1000, metavar="N", help="rows of each model, default 1000"
        )
        which.add_argument("--all", action="store_true", help="every row")
        verify.add_argument("--seconds", type=float, metavar="S", help="end the look at a model after this time")
        replay = task(
            "replay",
            "Outdate what the journal has noted while a cache could not be reached.",
            "Exits with 1 if notes wait because it still cannot be.",
        )
        replay.add_argument("--cache", metavar="ALIAS", choices=_aliases(), help="only of this cache")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do the task."""
        try:
            getattr(self, f"_{options['task']}")(options)
        except CachecoreError as error:
            raise CommandError(str(error)) from error

    def _say(self, options: dict[str, Any], line: str) -> None:
        if options["verbosity"]:
            self.stdout.write(line)

    # -- the tasks ---------------------------------------------------------------------------------

    def _check(self, options: dict[str, Any]) -> None:
        errors = 0
        for finding in health.examine():
            self._say(options, str(finding))
            errors += finding.level == "error"
        if errors:
            raise CommandError(f"{errors} errors")

    def _key(self, options: dict[str, Any]) -> None:
        cached = cached_rows(cached_model(options["model"]), options["database"])
        found = keys_of(cached, _question(options["question"]))
        self._say(options, f"cache: {cached.declaration.cache!r}, {cached.cache.backend.name}")
        for role, key in found.items():
            self._say(options, f"{role}: {key}")

    def _get(self, options: dict[str, Any]) -> None:
        cached = cached_rows(cached_model(options["model"]), options["database"])
        found: Found = look(cached, _question(options["question"]))
        for standing in found.standings:
            self._say(options, str(standing))
        self._say(options, f"a reader has {found.verdict}")
        for column, value in (found.row or {}).items():
            self._say(options, f"  {column} = {value!r}")

    def _invalidate(self, options: dict[str, Any]) -> None:
        # All are understood before the first is outdated.
        for model, pk, target in list(_targets(options["targets"])):
            cached = cached_rows(model, options["database"])
            if pk is None:
                outdate(model, cached.alias, None)
                self._say(options, f"{target}: all rows outdated")
            else:
                value: Any = pk.split(",") if len(cached.identity) > 1 else pk
                _, identity = cached.question({"pk": value})
                outdate(model, cached.alias, [identity])
                self._say(options, f"{target}: outdated")

    def _stats(self, options: dict[str, Any]) -> None:
        told = health.statistics()
        if options["json"]:
            self.stdout.write(json.dumps(told, indent=2))
            return
        for one in told:
            state = "reachable" if one["reachable"] else f"not reachable: {one['error']}"
            self._say(options, f"cache {one['cache']!r}: {one.get('backend', 'none')}, {state}")
            for sentence in one["diagnosis"]:
                self._say(options, f"  {sentence}")
            for using, count in one["journal"].items():
                self._say(options, f"  {count} notes wait in the journal of {using!r}")
            counters = ", ".join(f"{name} {value}" for name, value in one.get("process", {}).items())
            self._say(options, f"  this process, which has just begun: {counters}")
        self._say(options, "Each process counts for itself: caches[alias].statistics in it.")

    def _verify(self, options: dict[str, Any]) -> None:
        chosen = [cached_model(label) for label in options["models"]] or list(_all_cached())
        reports: list[AuditReport] = []
        for model in chosen:
            # Not the wrapper around it, which ends lines that are to be written over.
            with progress(model._meta.label, vars(self.stdout)["_out"]) as show:
                report = audit(
                    model,
                    using=options["database"],
                    sample=None if options["all"] else options["sample"],
                    seconds=options["seconds"],
                    progress=show if options["verbosity"] else None,
                )
            reports.append(report)
            self._say(options, str(report))
            for difference in report.differences:
                self._say(options, f"  {difference}")
        outdated = sum(report.differing for report in reports)
        if outdated:
            raise CommandError(f"{outdated} cached rows are outdated")

    def _replay(self, options: dict[str, Any]) -> None:
        aliases = list(configured()) if options["cache"] is None else [options["cache"]]
        waiting: list[str] = []
        for using in databases() if options["database"] is None else [options["database"]]:
            if not has_table(using):
                self._say(options, f'{using}: no journal; "manage.py migrate" makes it')
                continue
            for alias in aliases:
                result = replay_notes(alias, using)
                kept = f", {result.kept} kept: their statements may be under way" if result.kept else ""
                self._say(options, f"{using}: {result.done} notes of the cache {alias!r} replayed{kept}")
                if result.error is not None:
                    waiting.append(f"{using}: {result.waiting} notes of the cache {alias!r} wait: {result.error}")
            for alias, count in unknown_caches(using).items():
                self._say(
                    options, f"{using}: {count} notes of the cache {alias!r}, which CACHECORE does not have, are left"
                )
        if waiting:
            raise CommandError("\n".join(waiting))


# -- what the words mean ---------------------------------------------------------------------------


def _aliases() -> list[str] | None:
    """The caches there are; None if the setting is wrong, which the tasks themselves will say."""
    try:
        return list(configured())
    except CachecoreError:
        return None


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _question(words: Sequence[str]) -> dict[str, str]:
    """``["slug=oslo"]`` as a query."""
    query: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise UncacheableLookup(f"{word!r} is no field=value, {QUESTION}")
        if name in query:
            raise UncacheableLookup(f"{name!r} is asked for twice")
        query[name] = value
    return query


def _targets(words: Sequence[str]) -> Iterator[tuple[type[models.Model], str | None, str]]:
    """(model, primary key or None, the word) of each ``app.Model[.pk]``."""
    for word in words:
        label, _, rest = word.partition(".")
        name, dot, pk = rest.partition(".")
        if dot and not pk:
            raise UncacheableLookup(f"{word!r} ends where a primary key should be")
        yield cached_model(f"{label}.{name}"), pk if dot else None, word


def _all_cached() -> Iterator[type[models.Model]]:
    """Every model of which rows are cached, once for each table."""
    yield from dict.fromkeys(declaration.concrete for declaration in all_declared())
