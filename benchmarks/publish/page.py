"""The parts of a Markdown page that are made of results: between ``<!-- made: NAME -->`` and ``<!-- end -->``."""

import re
from collections.abc import Mapping

_PART = re.compile(r"(<!-- made: (?P<name>[\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


class PageMismatch(Exception):
    """The page asks for a part that is not made, or has no place for one that is."""


def rewritten(page: str, parts: Mapping[str, str]) -> str:
    """The page with these parts, by name. Raises PageMismatch."""
    places = [match["name"] for match in _PART.finditer(page)]
    if sorted(places) != sorted(parts):
        raise PageMismatch(f"the page has places for {sorted(places)}, and there are {sorted(parts)}")
    return _PART.sub(lambda match: f"{match[1]}\n{parts[match['name']]}\n\n{match[3]}", page)
