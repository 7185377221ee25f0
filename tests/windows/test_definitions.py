"""What is wrong with an aggregation is said before data is read, with the view, the aggregation and the mend."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from featurestore import Aggregation, Entity, FeatureView
from featurestore import types as t
from featurestore.errors import DefinitionError
from featurestore.registry import aggregation_checks
from featurestore.registry.aggregations import Window, lifetime, sawtooth, sliding, tumbling
from featurestore.registry.feature_names import stem
from featurestore.registry.records import Field
from featurestore.transforms.windows import window_schema
from featurestore.transforms.windows.schema import window_features

PLANE = Entity("plane", join_keys={"tailnum": t.String})
FLIGHTS = pa.schema(
    {
        "tailnum": pa.string(),
        "delay": pa.int64(),
        "u": pa.uint64(),
        "fare": pa.decimal128(10, 2),
        "wind": pa.float32(),
        "late": pa.bool_(),
        "carrier": pa.string(),
        "legs": pa.list_(pa.int32()),
        "vector": pa.list_(pa.float32(), 3),
        "place": pa.struct({"lat": pa.float64()}),
        "at": pa.timestamp("us", tz="UTC"),
    }
)


def view(*aggregations: Aggregation, **options: Any) -> FeatureView:
    return FeatureView("delays", entities=[PLANE], source="flights", aggregations=aggregations, **options)


def test_names_and_types() -> None:
    made = view(
        Aggregation("delay", "mean", windows=["1d", sawtooth("7d"), tumbling("12h"), lifetime()]),
        Aggregation(None, "count", windows=["1h"], where=pl.col("delay") > 15, name="late"),
        Aggregation("delay", "sum"),
        Aggregation("u", "sum"),
        Aggregation("fare", "sum"),
        Aggregation("wind", "max", windows=["90m"]),
        Aggregation("vector", "mean"),
        Aggregation("legs", "top_k", n=3),
        Aggregation("at", "last"),
        Aggregation("late", "any"),
        Aggregation(None, "count", by="carrier", values=["AA", "DL"], windows=["1d"]),
        derived={"ratio": pl.col("late_1h") / pl.col("delay_sum")},
    )
    assert window_schema(made, FLIGHTS) == (
        Field("delay_mean_1d", t.Float64),
        Field("delay_mean_7d_hop_1h", t.Float64),
        Field("delay_mean_12h_tumbling", t.Float64),
        Field("delay_mean", t.Float64),
        Field("late_1h", t.Int64),
        Field("delay_sum", t.Int64),
        Field("u_sum", t.UInt64),
        Field("fare_sum", t.Decimal(38, 2)),
        Field("wind_max_1h30m", t.Float32),
        Field("vector_mean", t.Vector(t.Float64, 3)),
        Field("legs_top_k", t.List(t.Int32)),
        Field("at_last", t.Timestamp),
        Field("late_any", t.Bool),
        Field("carrier_count_AA_1d", t.Int64),
        Field("carrier_count_DL_1d", t.Int64),
        Field("ratio", t.Float64),
    )


@pytest.mark.parametrize(
    ("aggregation", "message"),
    [
        (Aggregation("delay", "maen"), "unknown function 'maen'.*\n.*did you mean 'mean'"),
        (Aggregation("dealy", "mean"), "a column 'dealy' that does not exist.*\n.*did you mean 'delay'"),
        (Aggregation(None, "mean"), "without a column"),
        (Aggregation("carrier", "sum"), "takes numbers, and 'carrier' is String"),
        (Aggregation("place", "max"), "takes values that compare"),
        (Aggregation("delay", "any"), "takes Bool, and 'delay' is Int64"),
        (Aggregation("at", "mean"), "takes numbers"),
        (Aggregation("delay", "sum", windows=[sawtooth("90m", hop="1h")]), "1h30m, which is not a multiple of its hop 1h"),
        (Aggregation("delay", "sum", windows=[Window("sliding")]), "no width"),
        (Aggregation("delay", "sum", delay=-1), "negative delay of 1us"),
        (Aggregation("delay", "sum", delay="-1h"), "negative delay"),
        (Aggregation("delay", "sum", delay=timedelta(days=-1)), "negative delay"),
        (Aggregation("delay", "decayed_sum", half_life=timedelta(days=-1)), "with half_life="),
        (Aggregation("delay", "sum", where=pl.col("delay") > pl.col("delay").mean()), "where= that mixes rows"),
        (Aggregation("carrier", "top_k"), "without n="),
        (Aggregation("carrier", "top_k", n=0), "with n=0"),
        (Aggregation("carrier", "top_k", k=3, n=2), "unknown parameter 'k'"),
        (Aggregation("delay", "quantile"), "without q="),
        (Aggregation("delay", "quantile", q=1.5), "with q=1.5"),
        (Aggregation("delay", "decayed_sum"), "without half_life="),
        (Aggregation("delay", "decayed_sum", half_life="1x"), "with half_life='1x'"),
        (Aggregation("delay", "sum", bounds="[["), "unknown bounds"),  # type: ignore[arg-type]
        (
            Aggregation("delay", "sum", approx=True),
            "sum has no approximate form.*\n.*count_distinct, mode, quantile, top_k have one",
        ),
        (Aggregation("delay", "nope", approx=True), "unknown function 'nope'"),
        (Aggregation("delay", "quantile", q=0.5, approx=True, max_error=0.9), "max_error=0.9.*\n.*in rank.*0.0005 to 0.05"),
        (Aggregation("delay", "quantile", q=0.5, approx=True, max_error=True), "max_error=True"),
        (
            Aggregation("carrier", "count_distinct", approx=True, max_error="1%"),
            "max_error='1%'.*\n.*standard error.*0.003 to 0.1",
        ),
        (Aggregation("carrier", "count_distinct", approx=True, lg_k=12), "unknown parameter 'lg_k'"),
        (Aggregation("carrier", "top_k", n=3, max_error=0.1), "max_error=, and it is exact.*\n.*add approx=True"),
        (Aggregation("delay", "sum", max_error=0.1), "max_error=, and it is exact.*\n.*leave out max_error="),
        (Aggregation("carrier", "quantile", q=0.5, approx=True), "takes numbers, and 'carrier' is String"),
        (Aggregation("place", "count_distinct", approx=True), "takes values that compare"),
        (Aggregation("delay", "sum", order_by="at"), "with order_by="),
        (Aggregation("delay", "last", order_by="place"), "ordered by 'place'"),
        (Aggregation("delay", "sum", where=pl.col("nothing") > 1), "where= cannot be evaluated"),
        (Aggregation("delay", "sum", where=pl.col("delay") + 1), "where= gives Int64"),
        (Aggregation(None, "count", by="carrier"), "without its values"),
        (Aggregation(None, "count", by="carrier", values=["AA", "AA"]), "without its values"),
        (Aggregation(None, "count", by="delay", values=["AA"]), "are not all Int64"),
        (Aggregation(None, "count", by="carrier", values=[1]), "are not all String"),
        (Aggregation(None, "count", by="late", values=[1]), "are not all Bool"),
        (Aggregation(None, "count", by="delay", values=[True]), "are not all Int64"),
        (Aggregation(None, "count", by="delay", values=[1.5]), "are not all Int64"),
        (Aggregation(None, "count", by="carier", values=["AA"]), "by a column 'carier' that does not exist"),
        (Aggregation("delay", "sum", skip_nan=True), "which is for columns of floats"),
        (Aggregation("delay", "sum", empty="none"), "empty='none', which is no Int64"),
    ],
)
def test_what_cannot_be_computed_is_refused(aggregation: Aggregation, message: str) -> None:
    with pytest.raises(DefinitionError, match=message) as caught:
        window_schema(view(aggregation), FLIGHTS)
    assert "delays" in str(caught.value)
    assert repr(stem(aggregation)) in str(caught.value)
    assert caught.value.location is not None
    assert caught.value.hint


def test_a_sketch_whose_library_is_missing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aggregation_checks, "is_installed", lambda library: False)
    with pytest.raises(DefinitionError, match=r"fastdigest is not installed.*\n.*pip install 'featurestore\[sketches\]'"):
        window_schema(view(Aggregation("delay", "quantile", q=0.5, approx=True)), FLIGHTS)
    window_schema(view(Aggregation("delay", "quantile", q=0.5)), FLIGHTS)


def test_two_features_of_one_name_are_refused() -> None:
    twice = view(Aggregation("delay", "quantile", q=0.5), Aggregation("delay", "quantile", q=0.9))
    with pytest.raises(DefinitionError, match=r"two columns called 'delay_quantile'(.|\n)*name="):
        window_schema(twice, FLIGHTS)


def test_derived_features_are_checked() -> None:
    with pytest.raises(DefinitionError, match=r"derived feature 'ratio'.*delay_mean"):
        window_schema(view(Aggregation("delay", "sum"), derived={"ratio": pl.col("delay_mean")}), FLIGHTS)
    with pytest.raises(DefinitionError, match="name is taken"):
        window_schema(view(Aggregation("delay", "sum"), derived={"delay_sum": pl.col("delay_sum") + 1}), FLIGHTS)


def test_the_windows_of_a_sliding_text_are_durations() -> None:
    assert Aggregation("delay", "sum", windows=["7d"]).windows == (sliding("7d"),)


@pytest.mark.parametrize(
    "expression",
    [
        pl.col("delay_sum") - pl.col("delay_sum").mean(),
        pl.col("delay_sum").shift(1),
        pl.col("delay_sum").sum().over("delay_count"),
        pl.col("delay_sum").rank(),
    ],
)
def test_a_derived_feature_that_mixes_labels_is_refused(expression: pl.Expr) -> None:
    made = view(Aggregation("delay", "sum"), Aggregation("delay", "count"), derived={"odd": expression})
    with pytest.raises(DefinitionError, match="feature view 'delays' has a derived feature 'odd' that mixes rows") as caught:
        window_schema(made, FLIGHTS)
    assert caught.value.location is not None


def test_a_half_life_may_be_a_timedelta() -> None:
    written = Aggregation("delay", "decayed_sum", half_life=timedelta(hours=36))
    assert written == Aggregation("delay", "decayed_sum", half_life="1d12h")
    (feature,) = window_features(view(written), FLIGHTS)
    assert feature.parameters == {"half_life": 36 * 3_600_000_000}
