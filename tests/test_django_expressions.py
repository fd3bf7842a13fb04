"""What F() arithmetic comes to for an instance, without a query; and the refusals."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db.models import Avg, Case, ExpressionWrapper, F, IntegerField, OuterRef, Q, Value, When
from django.db.models.functions import Lower, Now

from cachecore.errors import CachecoreError
from cachecore.integrations.django.orm.expressions import CannotResolveExpression, resolve
from tests.django_extras_app.models import Called, PairedSeat, Player, Team


def player(**attributes: Any) -> Player:
    """An instance that is nowhere but here: a query would fail, as no test here has a database."""
    return Player(**{"pk": 3, "slug": "ada", "score": 7, "ratio": 2.5, "price": Decimal("9.90"), **attributes})


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        (F("score"), 7),
        (F("pk"), 3),
        (F("id"), 3),
        (F("slug"), "ada"),
        (F("score") + 1, 8),
        (1 + F("score"), 8),
        (F("score") - 10, -3),
        (10 - F("score"), 3),
        (F("score") * 6, 42),
        (-F("score"), -7),
        (F("score") / 2, 3.5),
        (7 / F("score"), 1),
        (F("ratio") / 2, 1.25),
        (F("price") / 3, Decimal("3.3")),
        (F("score") % 4, 3),
        (F("score").bitand(3), 3),
        (F("score") * F("score") + F("ratio"), 51.5),
        ((F("score") + 1) * (F("score") - 1), 48),
        (F("price") * 2, Decimal("19.80")),
        (Value(5), 5),
        (ExpressionWrapper(F("score") + 1, output_field=IntegerField()), 8),
        (5, 5),
        ("text", "text"),
        (None, None),
    ],
)
def test_arithmetic_on_attributes(expression: Any, value: object) -> None:
    """Numbers come out as Python computes them, division as true division, and what is no expression as it is."""
    computed = resolve(expression, player())
    assert computed == value


@pytest.mark.parametrize(("left", "right", "remainder"), [(-7, 3, -1), (7, -3, 1), (-7, -3, -1), (7, 3, 1), (0, 3, 0)])
def test_a_remainder_has_the_sign_of_its_left_side(left: int, right: int, remainder: int) -> None:
    """As in SQL, for integers and decimals; Python's own has that of the right side."""
    assert resolve(F("score") % right, player(score=left)) == remainder
    assert resolve(F("price") % Decimal(right), player(price=Decimal(left))) == remainder


def test_none_makes_none() -> None:
    """Arithmetic with NULL is NULL."""
    assert resolve(F("limit") + 1, player(limit=None)) is None
    assert resolve(1 / F("limit"), player(limit=None)) is None


def test_attributes_are_converted_first() -> None:
    """A text that was assigned to an integer is that integer."""
    assert resolve(F("score") * 2, player(score="21")) == 42


def test_foreign_keys_are_their_column(django_assert_num_queries: Any) -> None:
    """By the name of the field and of the attribute, without looking at the row they point at."""
    assert resolve(F("team"), player(team_id=5)) == 5
    assert resolve(F("team_id") + 1, player(team_id=5)) == 6


def test_moments_and_spans() -> None:
    """Datetimes and timedeltas are added as instants, also over a change of the clocks."""
    noon = datetime(2024, 3, 30, 12, tzinfo=UTC)
    assert resolve(F("joined") + timedelta(days=1), player(joined=noon)) == noon + timedelta(days=1)
    assert resolve(F("joined") - F("break_time"), player(joined=noon, break_time=timedelta(hours=1))).hour == 11
    berlin = datetime(2024, 3, 30, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    later = resolve(F("joined") + timedelta(days=1), player(joined=berlin))
    assert (later - berlin.astimezone(UTC)) == timedelta(hours=24)


def test_exact_refuses_what_databases_round() -> None:
    """A quotient of integers is one only if it is whole; other division is exact enough."""
    assert resolve(F("score") / 7, player(), exact=True) == 1
    assert type(resolve(F("score") / 7, player(), exact=True)) is int
    assert resolve(F("ratio") / 2, player(), exact=True) == 1.25
    with pytest.raises(CannotResolveExpression, match="not whole"):
        resolve(F("score") / 2, player(), exact=True)


def deferred() -> Player:
    instance = player()
    del instance.__dict__["score"]
    return instance


REFUSED: dict[str, tuple[Any, Callable[[], Any], str]] = {
    "a function": (Lower("slug"), player, "Lower"),
    "a function of the database": (Now(), player, "Now"),
    "a function inside arithmetic": (Lower("slug") + 1, player, "Lower"),
    "an aggregate": (Avg("score"), player, "Avg"),
    "a condition": (Case(When(Q(score=7), then=1), default=2), player, "Case"),
    "a slice": (F("slug")[:2], player, "Sliced"),
    "a reference to an outer query": (OuterRef("score"), player, "OuterRef"),
    "an unknown field": (F("skore") + 1, player, r"F\('skore'\) is no field of django_extras_app\.Player"),
    "a field of another row": (F("team__name"), player, "team__name"),
    "a relation from the other side": (F("pupil"), player, "pupil"),
    "a many-to-many field": (F("friends"), player, "friends"),
    "a deferred field": (F("score") + 1, deferred, "deferred"),
    "an attribute that is an expression": (F("score") + 1, lambda: player(score=F("score") + 1), "expression itself"),
    "an attribute that cannot be": (F("score") + 1, lambda: player(score="many"), "many"),
    "text": (F("slug") * 2, player, "str and int"),
    "truth": (F("active") + 1, player, "bool and int"),
    "a date": (F("birthday") + timedelta(days=1), lambda: player(birthday=date(2024, 1, 1)), "date and timedelta"),
    "a moment times two": (F("joined") * 2, lambda: player(joined=datetime(2024, 1, 1)), "datetime and int"),
    "a span times two": (F("break_time") * 2, lambda: player(break_time=timedelta(1)), "timedelta and int"),
    "two moments added": (
        F("joined") + F("joined"),
        lambda: player(joined=datetime(2024, 1, 1)),
        "datetime",
    ),
    "mixed decimals and floats": (F("price") * 1.5, player, "Decimal"),
    "the remainder of a float": (F("ratio") % 2, player, "remainder of floats"),
    "bits of a float": (F("ratio").bitand(2), player, "only integers have bits"),
    "a power": (F("score") ** 2, player, r"\^ is not computed here"),
    "bits of another kind": (F("score").bitor(8), player, r"\| is not computed here"),
    "division by zero": (F("score") / 0, player, "zero"),
    "remainder by zero": (F("score") % 0, player, "zero"),
    "division of what is too large": (F("score") / 2, lambda: player(score=10**400), "too large"),
}


@pytest.mark.parametrize(("expression", "made", "said"), REFUSED.values(), ids=REFUSED)
def test_the_rest_is_refused(expression: Any, made: Callable[[], Player], said: str) -> None:
    """By one error, which says why; no query is made, and the instance stays as it is."""
    instance = made()
    before = dict(vars(instance))
    with pytest.raises(CannotResolveExpression, match=said) as caught:
        resolve(expression, instance)
    assert isinstance(caught.value, CachecoreError)
    assert isinstance(caught.value, ValueError)
    assert vars(instance) == before


def test_a_composite_key_is_no_value() -> None:
    """There is nothing to compute with."""
    with pytest.raises(CannotResolveExpression, match="pk"):
        resolve(F("pk"), PairedSeat(row="A", number=1))


def test_other_models_have_other_fields() -> None:
    """The field is looked up in the model of the instance."""
    assert resolve(F("name"), Team(name="red")) == "red"
    with pytest.raises(CannotResolveExpression, match=r"django_extras_app\.Called"):
        resolve(F("score"), Called())
