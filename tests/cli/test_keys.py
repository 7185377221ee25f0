"""Keys as a person types them."""

from datetime import UTC, datetime
from decimal import Decimal

import click
import pytest

from featurestore import types as t
from featurestore.api.cli.keys import parse_rows
from featurestore.errors import FeatureStoreError

TYPES = {
    "s": t.String,
    "i": t.Int64,
    "f": t.Float64,
    "b": t.Bool,
    "at": t.Timestamp,
    "d": t.Decimal(5, 2),
    "v": t.List(t.Int64),
}


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("s=HARBOUR", {"s": "HARBOUR"}),
        ("s=17", {"s": "17"}),
        ('s="a,b",i=2', {"s": "a,b", "i": 2}),
        ("s=a=b", {"s": "a=b"}),
        ("s=", {"s": ""}),
        ("i=-3,f=2", {"i": -3, "f": 2}),
        ("f=NaN", {"f": pytest.approx(float("nan"), nan_ok=True)}),
        ("b=true", {"b": True}),
        ("at=2026-03-01T00:00:00Z", {"at": datetime(2026, 3, 1, tzinfo=UTC)}),
        ("d=12.50", {"d": Decimal("12.50")}),
        ("d=12", {"d": Decimal(12)}),
        ("v=[1,2],i=3", {"v": [1, 2], "i": 3}),
        ("i=null", {"i": None}),
    ],
)
def test_values_take_the_type_of_their_column(text, row):
    assert parse_rows([text], TYPES) == [row]


@pytest.mark.parametrize("text", ["HARBOUR", "=x", "s=a,b"])
def test_what_is_no_pair_is_a_usage_error(text):
    with pytest.raises(click.UsageError, match="name=value"):
        parse_rows([text], TYPES)


@pytest.mark.parametrize("text", ["i=x", "b=yes", "i=true", "at=noon", "d=much", "unknown=1"])
def test_what_does_not_fit_is_named(text):
    with pytest.raises(FeatureStoreError):
        parse_rows([text], TYPES)
