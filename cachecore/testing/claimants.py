"""Those in the explorer's scenes who ask what no row can verify: for all rows with a slug, and whether there is none.

The shipped flows of `cachecore.lists` and `cachecore.absences`, over entries in a form that the explorer reads.
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from itertools import count
from typing import Any

import msgspec
from msgspec import structs

from cachecore.absences import Absence
from cachecore.coherence import Row, Subject, nothing_written
from cachecore.entries import Value
from cachecore.lists import ListSubject, get_lists
from cachecore.lookups import Claim, Lookup, find, find_many
from cachecore.testing.actors import FINGERPRINT, Flow, by_slug, dump, found_row, key_of, load, token
from cachecore.testing.model import Own, Returned, Rollback, Version, Write
from cachecore.testing.program import Making


def list_key(slug: str) -> str:
    """The coherent key of the list of the rows with this slug."""
    return f"list:{slug}"


def missing_key(slug: str) -> str:
    """The coherent key under which it stands that no row has this slug."""
    return f"none:{slug}"


def stored(slug: str, identities: list[int] | None, epoch: bytes = b"") -> Value:
    """A list as it stands in the cache, or with None that no row has the slug."""
    return Value(dump(((slug,), identities))[0], epoch + FINGERPRINT)


def is_complete(slug: str) -> Callable[[tuple[Any, ...], Mapping[int, Version]], bool]:
    """Whether a stored list has all rows with this slug; it may have others, which its readers leave out."""
    return lambda content, rows: {one[0] for one in rows.values() if one[2] == slug} <= set(content[1])


def is_absent(slug: str) -> Callable[[tuple[Any, ...], Mapping[int, Version]], bool]:
    """Whether no row has this slug."""
    return lambda _, rows: all(one[2] != slug for one in rows.values())


def lists(of: Subject) -> ListSubject:
    """The lists by slug of a scene's rows."""
    return ListSubject(
        rows=of,
        entries=_entries(of, lambda answer: [row[0] for row in answer[2]]),
        keys_for=lambda identities: {key_of(identity): identity for identity in identities},
        values_of=lambda row: (row[2],),
    )


def _entries(of: Subject, content: Callable[[Any], object]) -> Subject:
    def loaded(payload: Any) -> Row:
        asked, content = load(payload)
        return msgspec.convert(asked, tuple[str, ...]), content

    def dumped(answer: Row) -> tuple[object, int]:
        return dump((answer[0], content(answer)))

    def asked(answer: Row) -> Hashable:
        return answer[0]

    return structs.replace(of, dump=dumped, load=loaded, identity_of=asked)


def lister(name: str, *slugs: str, of: Subject, one_token: bool = False, verified: bool = True) -> Making:
    """Reads all rows with a slug, of each.

    one_token: it takes the same token for the lists and for their rows. verified: False believes every row to belong.
    """
    asking = lists(of)
    if not verified:
        asking = structs.replace(asking, values_of=_any_of(slugs[0]))

    def program() -> Flow:
        numbers = count()
        wanted = {list_key(slug): (slug,) for slug in slugs}
        found = yield from get_lists(
            asking,
            wanted,
            lambda: token(name if one_token else f"{name}.{next(numbers)}"),
            may_fill=True,
            written=nothing_written,
        )
        for slug in slugs:
            yield Returned(_found_rows(found[list_key(slug)]), asked=slug, listed=True)

    return program


def _any_of(slug: str) -> Callable[[Row], Row]:
    """Any row as if it had this slug."""
    return lambda _: (slug,)


def _found_rows(rows: Iterable[Row]) -> dict[int, Row | None]:
    return {identity: row for one in rows for identity, row in found_row(one).items()}


def doubter(name: str, slug: str, *, of: Subject, claim: Claim | None = None) -> Making:
    """Reads one row by slug, of which the cache may know that there is none."""

    def program() -> Flow:
        row, _ = yield from find(of, _doubted(name, slug, of), token(name), claim=claim)
        yield Returned(found_row(row), asked=slug)

    return program


def many_doubter(name: str, *slugs: str, of: Subject) -> Making:
    """The same for several slugs at once."""

    def program() -> Flow:
        lookups = {slug: _doubted(name, slug, of) for slug in slugs}
        rows, _ = yield from find_many(of, list(lookups.values()), token(name), claims={})
        for slug, lookup in lookups.items():
            yield Returned(found_row(rows.get(lookup.key)), asked=slug)

    return program


def _doubted(name: str, slug: str, of: Subject) -> Lookup:
    entries = _entries(of, lambda _: None)
    return structs.replace(by_slug(slug), absence=Absence(missing_key(slug), token(f"{name}.n"), entries))


def gains(*versions: Version, lists: Collection[str] = (), missing: Collection[str] = ()) -> list[str]:
    """The keys that whoever writes these versions holds besides those of the rows, where these slugs are asked for."""
    slugs = list(dict.fromkeys(version[2] for version in versions if version[2] is not None))
    return [*(list_key(one) for one in slugs if one in lists), *(missing_key(one) for one in slugs if one in missing)]


def reads_own(name: str, slug: str, *versions: Version, of: Subject, held: bool = True) -> Making:
    """Writes rows, and in the same transaction reads all with the slug, and the one. held: it knows what it gains."""
    keys = {key_of(version[0]) for version in versions} | set(
        gains(*versions, lists=[slug], missing=[slug]) if held else ()
    )

    def program() -> Flow:
        yield Write(versions)
        numbers = count()
        found = yield from get_lists(
            lists(of),
            {list_key(slug): (slug,)},
            lambda: token(f"{name}.{next(numbers)}"),
            may_fill=False,
            written=keys.__contains__,
        )
        yield Own(_found_rows(found[list_key(slug)]), asked=slug)
        row, _ = yield from find(
            of, _doubted(name, slug, of), token(f"{name}.f"), may_fill=False, written=keys.__contains__
        )
        yield Own(found_row(row), asked=slug)
        yield Rollback()

    return program
