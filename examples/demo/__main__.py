"""``python -m examples.demo``: real cities looked up without a cache, through cachecore, and through a cache that
nobody invalidates, while a second thread renames and moves them in transactions; every answer is judged.

Exit status 0: no answer of cachecore was stale or wrong, and the control had some that were, so the judge can tell.
1: otherwise. 2: the arguments or the cache are no good. 130: interrupted.
"""

import argparse
import secrets
import signal
import sys
import tempfile
from pathlib import Path

from cachecore.errors import CachecoreError
from examples.demo.application import Application


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        prog="./run demo",
        description="Real cities, looked up with and without a cache while another thread changes them.",
    )
    parser.add_argument(
        "--orm", default="django", choices=["django", "sqlalchemy"], help="whose objects are cached (default django)"
    )
    parser.add_argument(
        "--cache", default="memory://", metavar="URL", help="the cache, such as memory:// (the default) or null://"
    )
    parser.add_argument("--seconds", type=float, default=6.0, help="length of each of the three runs (default 6)")
    parser.add_argument("--lookups", type=int, help="lookups of each run, instead of a length in seconds")
    parser.add_argument("--cities", type=int, metavar="N", help="only the N largest cities (default: all)")
    parser.add_argument(
        "--warm",
        type=int,
        default=15_000,
        metavar="N",
        help="how many of the largest are cached when a run begins (default 15000)",
    )
    parser.add_argument("--seed", type=int, default=1, help="of what is looked up and what is changed (default 1)")
    parser.add_argument("--quick", action="store_true", help="runs of one second, 5000 cities cached when they begin")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.seconds, chosen.warm = 1.0, 5000
    if not chosen.seconds > 0:
        parser.error(f"--seconds must be positive, not {chosen.seconds:g}")
    for name, least in (("lookups", 1), ("cities", 1), ("warm", 0)):
        number: int | None = getattr(chosen, name)
        if number is not None and number < least:
            parser.error(f"--{name} must be at least {least}, not {number}")
    return chosen


def application_with(orm: str, folder: Path, cache: str) -> Application:
    """The application with this ORM, its database in the folder.

    Raises CachecoreError if the cache cannot be used, ModuleNotFoundError if a library is missing.
    """
    if orm == "django":
        from examples.demo.with_django import start
    else:
        from examples.demo.with_sqlalchemy import start
    return start(folder / "cities.sqlite3", cache, f"demo-{secrets.token_hex(4)}")


def main() -> int:
    """Set the application up in a temporary folder and run it there."""
    chosen = arguments()
    # What is timed is answers, not how long two busy threads wait for each other: Python lets go after 5 ms otherwise.
    sys.setswitchinterval(0.0005)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the folder is removed then, too
    with tempfile.TemporaryDirectory(prefix="cachecore-demo-") as folder:
        try:
            from examples.demo.show import show

            return show(
                application_with(chosen.orm, Path(folder), chosen.cache),
                seconds=chosen.seconds,
                lookups=chosen.lookups,
                seed=chosen.seed,
                largest=chosen.cities,
                warm=chosen.warm,
            )
        except ModuleNotFoundError as error:
            print(f'demo: {error.name} is not installed: pip install -e ".[demo]", or ./run demo', file=sys.stderr)
            return 2
        except CachecoreError as error:
            print(f"demo: --cache {chosen.cache}: {error}", file=sys.stderr)
            return 2


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("\ndemo: interrupted", file=sys.stderr)
        sys.exit(130)
