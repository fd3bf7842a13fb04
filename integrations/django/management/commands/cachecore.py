"""``manage.py cachecore``: what operators do with the caches.

``replay``  outdate what the journal has noted while a cache could not be reached
"""

from argparse import SUPPRESS
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from cachecore.integrations.django.conf import configured
from cachecore.integrations.django.journal import databases, replay_notes, unknown_caches
from cachecore.integrations.django.notes import has_table


class Command(BaseCommand):
    """The command."""

    help = "What operators do with the caches of CACHECORE."
    requires_system_checks = ()  # notes must not wait because of a mistake in some model

    def add_arguments(self, parser: CommandParser) -> None:
        """Each task is a word of its own."""
        tasks = parser.add_subparsers(dest="task", metavar="task", required=True)
        replay = tasks.add_parser(
            "replay",
            help="Outdate what the journal has noted while a cache could not be reached.",
            description="Outdate what the journal has noted while a cache could not be reached. Exits with 1 if notes "
            "wait because it still cannot be.",
        )
        # Those of all commands stand before the task; this one is convenient after it.
        replay.add_argument("-v", "--verbosity", type=int, choices=range(4), default=SUPPRESS, help="0: say nothing")
        replay.add_argument("--cache", metavar="ALIAS", choices=list(configured()), help="only of this cache")
        replay.add_argument(
            "--database", metavar="ALIAS", choices=list(connections), help="only the journal in this database"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Do the task."""
        getattr(self, f"_{options['task']}")(options)

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

    def _say(self, options: dict[str, Any], line: str) -> None:
        if options["verbosity"]:
            self.stdout.write(line)
