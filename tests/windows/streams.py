"""Random event streams and aggregations, and the two ways to answer them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from random import Random
from typing import Any

import numpy as np
import polars as pl
from hypothesis import strategies as st

from featurestore import Aggregation, Entity, FeatureView
from featurestore import types as t
from featurestore.registry.aggregations import Window
from featurestore.registry.feature_names import feature_name
from featurestore.testing.oracle import Definition, aggregate
from featurestore.time import to_micros
from featurestore.transforms.windows import compute_windows

SECOND = 1_000_000
STARTS = [
    to_micros(moment)
    for moment in (
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 50, tzinfo=UTC),
        datetime(2013, 12, 31, 23, 59, 55, tzinfo=UTC),
        datetime(2024, 3, 31, 0, 59, 55, tzinfo=UTC),  # clocks go forward in Europe
        datetime(2013, 11, 3, 5, 59, 55, tzinfo=UTC),  # and back in New York
        datetime(2024, 2, 28, 23, 59, 55, tzinfo=UTC),
    )
]
KEYS = 3
ENTITY = Entity("thing", join_keys={"key": t.Int64})

SCHEMA = {
    "key": pl.Int64,
    "event_time": pl.Int64,
    "arrival_time": pl.Int64,
    "sequence": pl.Int64,
    "x": pl.Float64,
    "small": pl.Float32,
    "i": pl.Int64,
    "u": pl.UInt64,
    "s": pl.String,
    "b": pl.Boolean,
    "money": pl.Decimal(12, 2),
    "at": pl.Datetime("us", "UTC"),
    "items": pl.List(pl.Int64),
    "vector": pl.Array(pl.Float64, 2),
    "rank": pl.Int64,
}
SPECIAL = [0.0, -0.0, 1.0, 0.1, -2.5, 1e300, -1e300, 5e-324, 1e16, math.nan, math.inf, -math.inf]
INTEGERS = [*range(-3, 4), 2**40, -(2**40), 2**61, -(2**61)]


def _number(random: Random, tame: bool) -> float:
    kind = random.random()
    if tame or kind < 0.5:
        return float(random.randint(-3, 3))
    return random.choice(SPECIAL) if kind < 0.75 else math.ldexp(random.uniform(-1, 1), random.randint(-60, 60))


def _row(random: Random, start: int, number: int, *, late: bool, tame: bool) -> dict[str, Any]:
    def maybe(value: Any) -> Any:
        return None if random.random() < 0.2 else value

    time = start + random.randint(0, 12) * SECOND
    return {
        "key": random.randrange(KEYS),
        "event_time": time,
        "arrival_time": time + random.randint(0, 8) * SECOND if late else time,
        "sequence": number,
        "x": maybe(_number(random, tame)),
        "small": maybe(float(np.float32(random.choice([0.1, -0.0, 2.5, 1e30, 1e-40])))),
        "i": maybe(random.choice(INTEGERS)),
        "u": maybe(random.choice([0, 1, 2, 3, 2**62, 2**63])),
        "s": maybe(random.choice(["", "a", "b", "ab", "é", "日", "z"])),
        "b": maybe(random.random() < 0.5),
        "money": maybe(Decimal(random.randint(-(10**12) + 1, 10**12 - 1)).scaleb(-2)),
        "at": maybe(datetime(2024, 1, 1, 0, 0, random.randint(7, 13), tzinfo=UTC)),
        "items": maybe([maybe(random.randint(-2, 2)) for _ in range(random.randint(0, 3))]),
        "vector": maybe([maybe(_number(random, tame)) for _ in range(2)]),
        "rank": maybe(random.randint(0, 3)),
    }


@st.composite
def rows(draw: st.DrawFn, size: int = 24) -> list[dict[str, Any]]:
    """Events of a few keys on a coarse grid of instants, so that ties, duplicates and exact edges are common."""
    start, late, tame = draw(st.sampled_from(STARTS)), draw(st.booleans()), draw(st.booleans())
    random = Random(draw(st.integers(0, 2**32)))
    return [_row(random, start, number, late=late, tame=tame) for number in range(draw(st.integers(0, size)))]


windows = st.one_of(
    st.just(Window("lifetime")),
    st.integers(1, 9).map(lambda w: Window("sliding", w * SECOND)),
    st.tuples(st.integers(1, 4), st.sampled_from([1, 2, 3])).map(
        lambda p: Window("sawtooth", p[0] * p[1] * SECOND, p[1] * SECOND)
    ),
    st.sampled_from([1, 2, 3, 5]).map(lambda w: Window("tumbling", w * SECOND)),
)

PLAIN = ["x", "small", "i", "u", "s", "b", "money", "at", "items"]
NUMBERS = ["x", "small", "i", "u", "money", "items", "vector", "b"]
CHOICES: list[tuple[str, list[str | None]]] = [
    ("count", [None, *PLAIN, "vector"]),
    ("count_distinct", [*PLAIN]),
    ("sum", NUMBERS),
    ("mean", NUMBERS),
    ("var", NUMBERS),
    ("std", NUMBERS),
    ("min", [*PLAIN, "vector"]),
    ("max", [*PLAIN, "vector"]),
    ("first", [*PLAIN, "vector"]),
    ("last", [*PLAIN, "vector"]),
    ("first_n", [*PLAIN]),
    ("last_n", [*PLAIN]),
    ("top_k", [*PLAIN]),
    ("mode", [*PLAIN]),
    ("quantile", ["x", "small", "i", "u", "money", "items", "vector"]),
    ("any", ["b"]),
    ("all", ["b"]),
    ("decayed_sum", NUMBERS),
    ("decayed_count", [None, *PLAIN]),
]


@dataclass(frozen=True)
class Case:
    """An aggregation as users write it, and as the oracle reads it."""

    aggregation: Aggregation
    definitions: tuple[Definition, ...]

    @property
    def names(self) -> list[str]:
        return [
            feature_name(self.aggregation, window, d.category)
            for d, window in zip(self.definitions, self._windows, strict=True)
        ]

    @property
    def _windows(self) -> list[Window]:
        repeats = len(self.definitions) // len(self.aggregation.windows)
        return list(self.aggregation.windows) * repeats


@st.composite
def cases(draw: st.DrawFn, name: str) -> Case:
    function, columns = draw(st.sampled_from(CHOICES))
    column = draw(st.sampled_from(columns))
    chosen = draw(st.lists(windows, min_size=1, max_size=3, unique=True))
    parameters: dict[str, Any] = {}
    if function in ("first_n", "last_n", "top_k"):
        parameters["n"] = draw(st.integers(1, 4))
    if function == "quantile":
        parameters["q"] = draw(st.sampled_from([0, 0.1, 0.25, 0.5, 0.9, 1]))
    if function.startswith("decayed"):
        parameters["half_life"] = draw(st.sampled_from([SECOND, 3 * SECOND]))
    if column in ("x", "small") and draw(st.booleans()):
        parameters["skip_nan"] = True
    by = draw(st.sampled_from([None, None, "s"]))
    order_by = draw(st.sampled_from([None, "rank"])) if function in ("first", "last", "first_n", "last_n") else None
    filtered = draw(st.booleans())
    bounds, delay = draw(st.sampled_from(["[)", "[]", "(]", "()"])), draw(st.sampled_from([0, 0, SECOND, 2 * SECOND]))
    categories = ["a", "é"] if by else [None]
    aggregation = Aggregation(
        column,
        function,
        windows=chosen,
        where=pl.col("i") > 0 if filtered else None,
        bounds=bounds,
        delay=delay,
        name=name,
        by=by,
        order_by=order_by,
        **parameters,
        **({"values": categories} if by else {}),
    )
    base = Definition(
        function,
        column,
        bounds=bounds,
        delay=delay,
        where=(lambda row: None if row["i"] is None else row["i"] > 0) if filtered else None,
        by=by,
        order_by=order_by,
        dimension=2 if column == "vector" and function in ELEMENTWISE else 0,
        **parameters,
    )
    definitions = tuple(
        replace(base, kind=w.kind, width=w.width, hop=w.hop, category=category) for category in categories for w in chosen
    )
    return Case(aggregation, definitions)


ELEMENTWISE = {"sum", "mean", "var", "std", "min", "max", "quantile", "decayed_sum"}


@st.composite
def case_lists(draw: st.DrawFn, most: int = 4) -> list[Case]:
    return [draw(cases(f"f{number}")) for number in range(draw(st.integers(1, most)))]


def labels_of(stream: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """Every key at instants where something changes, exactly there and beside; and a key without events."""
    moments = {row["event_time"] for row in stream} | {row["arrival_time"] for row in stream} | {STARTS[0]}
    steps = (0, 1, SECOND - 1, 3 * SECOND)
    spread = sorted(
        {moment + steps[i % 4] for i, moment in enumerate(sorted(moments))} | {max(moments), max(moments) + 4 * SECOND}
    )
    return [(key, moment) for key in range(KEYS + 1) for moment in spread]


def frame(stream: list[dict[str, Any]]) -> pl.DataFrame:
    renamed = {"event_time": "__event_time", "arrival_time": "__arrival_time", "sequence": "__sequence"}
    return pl.DataFrame(stream, schema=SCHEMA, strict=False).rename(renamed)


def view_of(cases: list[Case], derived: dict[str, pl.Expr] | None = None) -> FeatureView:
    return FeatureView(
        "things", entities=[ENTITY], source="events", aggregations=[c.aggregation for c in cases], derived=derived
    )


def by_kernels(
    cases: list[Case], stream: list[dict[str, Any]], labels: list[tuple[int, int]], *, as_known: bool, **options: Any
) -> dict[str, pl.Series]:
    events = frame(stream)
    return compute_windows(
        view_of(cases),
        events,
        events["key"].to_numpy(),
        np.array([key for key, _ in labels], dtype=np.int64),
        np.array([moment for _, moment in labels], dtype=np.int64),
        as_known=as_known,
        **options,
    )


def by_oracle(
    cases: list[Case], stream: list[dict[str, Any]], labels: list[tuple[int, int]], *, as_known: bool
) -> dict[str, list[Any]]:
    return {
        name: [aggregate(definition, stream, key, moment, as_known=as_known) for key, moment in labels]
        for case in cases
        for name, definition in zip(case.names, case.definitions, strict=True)
    }


def same(found: Any, expected: Any, tolerance: float) -> bool:
    """Equal, NaN to NaN; floats within the tolerance, relative."""
    if isinstance(expected, list | tuple):
        return len(found) == len(expected) and all(same(f, e, tolerance) for f, e in zip(found, expected, strict=True))
    if found is None or expected is None:
        return found is expected
    if isinstance(expected, float) or isinstance(found, float):
        found, expected = float(found), float(expected)
        if math.isnan(expected) or math.isinf(expected):
            return math.isnan(found) if math.isnan(expected) else found == expected
        return found == expected or math.isclose(found, expected, rel_tol=tolerance)
    return bool(found == expected)
