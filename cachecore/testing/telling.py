"""The explorer's steps in words that a person reads."""

from collections.abc import Iterable
from typing import Any, cast

from cachecore.entries import Grant, Hold, Lease, Unusable, Value
from cachecore.operations import Journal, Load, Operation, Query, QueryMany
from cachecore.testing import model
from cachecore.testing.actors import FINGERPRINT, load


def line(cause: tuple[Any, ...]) -> str:
    """One step: who, and what was done with which reply."""
    who, *what = cause
    return f"{who:<6} {' '.join(filter(None, map(_words, what)))}"


def _words(item: Any) -> str:
    """A word as it is; a part, an operation, an entry or a reply described."""
    match item:
        case str():
            return item
        case (str() as name, str() as key, *arguments):
            return " ".join((name.upper(), key, *(_entry(one) for one in arguments if isinstance(one, Value))))
        case model.Write(versions):
            return f"locks and writes {_rows(versions)}"
        case model.Statement(versions):
            return f"writes and commits {_rows(versions)}"
        case model.Send(operation):
            return "sends " + ", ".join(map(_words, model.parts_of(operation)))
        case Journal(keys) | model.Announce(keys):
            return f"notes {', '.join(keys)}{'' if isinstance(item, Journal) else ', committed at once'}"
        case model.DeleteNotes(rows):
            return f"deletes {len(rows)} notes"
        case Load(identities):
            return f"SELECT rows {', '.join(map(str, identities))}"
        case Query((slug,)):
            return f"SELECT by slug {slug!r}"
        case QueryMany(values):
            return f"SELECT by slugs {', '.join(repr(value[0]) for value in values)}"
        case Operation():
            return type(item).__name__.upper()
        case None:
            return "-> nothing"
        case _:
            return f"-> {_entry(item)}"


def _entry(item: Any) -> str:
    """What stands in the cache or was answered."""
    match item:
        case Grant():
            return "granted"
        case Lease(token):
            return f"leased by {_name(token)}"
        case Hold(tokens, shared):
            names = (_name(token) + ("" if until == model.LIVING else " (expired)") for token, until in tokens)
            return f"held by {' and '.join(names)}{', shared' if shared else ''}"
        case Value(b"", stamp):
            return f"epoch {_name(stamp)}"
        case Value(payload, stamp):
            under = f" under epoch {_name(stamp.removesuffix(FINGERPRINT))}" if stamp != FINGERPRINT else ""
            return _stored(load(payload)) + under
        case Unusable():
            return "rubbish"
        case True | False:
            return "yes" if item else "no"
        case dict():
            return _rows(cast("dict[int, Any]", item).values())
        case (int(), version):
            return _rows([version])
        case _:
            return "nothing" if item is None else str(item)


def _stored(content: tuple[Any, ...]) -> str:
    """A row, a pointer, a list or that there is no row."""
    match content:
        case (_, _, _):
            return _rows([content])
        case ([*_], None):
            return "no row"
        case ([*_], [*identities]):
            return f"rows {', '.join(map(str, identities)) or 'none'}"
        case _:
            return f"row {content[0]}"


def _rows(versions: Iterable[Any]) -> str:
    return ", ".join(f"{identity}={label}{_slug(slug)}" for identity, label, slug in versions) or "no row"


def _slug(slug: str | None) -> str:
    return " (deleted)" if slug is None else f" {slug!r}" if slug else ""


def _name(token: bytes) -> str:
    """A token or an epoch; the look at which an epoch was begun is its last byte."""
    return token[:8].decode(errors="replace").replace(" ", "") + (f"+{token[9]}" if len(token) > 9 else "")
