"""Profiles and drift, on tables to check by eye and against SciPy's definitions written out."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.errors import NotFoundError
from featurestore.validation.drift import measure_drift
from featurestore.validation.profiles import Profile, make_profile

FRAME = pl.DataFrame(
    {
        "delay": [3, 1, 2, None, 2],
        "wind": [1.0, float("nan"), None, 2.0, 4.0],
        "carrier": ["UA", "AA", "UA", None, "AA"],
        "day": [date(2020, 1, d) for d in (1, 2, 3, 4, 5)],
        "at": [datetime(2020, 1, 1, tzinfo=UTC)] * 5,
        "tags": [["x"], None, [], ["y"], ["x"]],
        "empty": pl.Series([None] * 5, dtype=pl.Float64),
        "__batch": [1] * 5,
    }
)


def test_columns_in_numbers() -> None:
    profile = make_profile(FRAME.lazy())
    assert [column.name for column in profile.columns] == ["delay", "wind", "carrier", "day", "at", "tags", "empty"]
    delay, wind, carrier = profile["delay"], profile["wind"], profile["carrier"]
    assert (delay.rows, delay.missing, delay.distinct, delay.minimum, delay.maximum) == (5, 1, 3, 1, 3)
    assert (delay.mean, delay.std, delay.quantile(0.5)) == (2.0, pytest.approx(math.sqrt(2 / 3)), 2.0)
    assert (wind.missing, wind.distinct, wind.maximum, wind.mean) == (2, 3, 4.0, pytest.approx(7 / 3))
    assert (carrier.kind, carrier.missing_share, carrier.top) == ("category", 0.2, (("AA", 2), ("UA", 2)))
    assert (profile["day"].minimum, profile["day"].maximum) == ("2020-01-01", "2020-01-05")
    assert (profile["tags"].missing, profile["tags"].distinct) == (1, None)
    assert (profile["empty"].missing_share, profile["empty"].mean, profile["empty"].percentiles) == (1.0, None, ())
    with pytest.raises(NotFoundError, match="did you mean 'delay'"):
        profile["dely"]


def test_profile_as_json_and_text() -> None:
    profile = make_profile(FRAME)
    assert Profile.from_json_dict(json.loads(json.dumps(profile.to_json_dict(), allow_nan=False))) == profile
    assert str(profile).splitlines()[:4] == [
        "5 rows, 7 columns",
        "  delay: Int64, 20.0% missing, 3 distinct, 1 to 3, mean 2 ± 0.816497, median 2",
        "  wind: Float64, 40.0% missing, 3 distinct, 1.0 to 4.0, mean 2.33333 ± 1.52753, median 2",
        "  carrier: String, 20.0% missing, 2 distinct, top AA (2), UA (2)",
    ]


def test_no_rows_have_a_profile() -> None:
    profile = make_profile(FRAME.clear())
    assert profile.rows == 0
    assert profile["delay"].minimum is None
    assert profile["carrier"].top == ()


def test_a_frame_does_not_drift_from_itself() -> None:
    for reference, current in ((FRAME, FRAME), (make_profile(FRAME), FRAME), (make_profile(FRAME), make_profile(FRAME))):
        report = measure_drift(reference, current)
        assert report.drifted == ()
        assert all(column.psi in (None, 0.0) and column.ks in (None, 0.0) for column in report.columns)


def test_shift_of_categories_by_hand() -> None:
    before = pl.DataFrame({"carrier": ["AA"] * 50 + ["UA"] * 50})
    after = pl.DataFrame({"carrier": ["AA"] * 80 + ["B6"] * 10 + [None] * 10})
    column = measure_drift(before, after).columns[0]
    shares = [(0.5, 80 / 90), (0.5, 1e-4), (1e-4, 10 / 90)]
    assert column.psi == pytest.approx(sum((c - r) * math.log(c / r) for r, c in shares))
    assert (column.new_categories, column.new_share) == (("B6",), 10 / 90)
    assert (column.missing_before, column.missing_after, column.ks) == (0.0, pytest.approx(0.1), None)
    assert column.level == "large"


def test_shift_of_numbers_by_hand() -> None:
    before = pl.DataFrame({"n": range(100)})
    column = measure_drift(before, pl.DataFrame({"n": range(50, 150)})).columns[0]
    assert column.ks == pytest.approx(0.5)
    # Ten equal bins; the five lower ones are empty now, the four next keep a tenth, the last holds 60 %.
    emptied = 5 * (1e-4 - 0.1) * math.log(1e-4 / 0.1)
    assert column.psi == pytest.approx(emptied + (0.6 - 0.1) * math.log(0.6 / 0.1), rel=0.05)


def test_profiles_stand_in_for_frames() -> None:
    before = pl.DataFrame({"n": [k / 7 for k in range(1000)]})
    after = pl.DataFrame({"n": [k / 9 for k in range(1000)]})
    exact = measure_drift(before, after).columns[0]
    estimate = measure_drift(make_profile(before), make_profile(after)).columns[0]
    assert estimate.ks == pytest.approx(exact.ks, abs=0.02)
    assert estimate.psi == pytest.approx(exact.psi, abs=0.05)


def test_columns_come_and_go() -> None:
    report = measure_drift(
        pl.DataFrame({"a": [1], "b": ["x"], "gone": [1], "lost": [1.0]}),
        pl.DataFrame({"a": [1], "b": [1], "new": [1], "lost": pl.Series([None], dtype=pl.Float64)}),
    )
    assert (report.added, report.removed, report.retyped) == (("new",), ("gone",), ("b",))
    assert [(column.name, column.level) for column in report.drifted] == [("lost", "large")]
    assert json.loads(json.dumps(report.to_json_dict()))["columns"][0]["level"] == "stable"
    assert str(report).splitlines() == [
        "1 of 2 columns drifted",
        "  large    lost, missing 0.0% -> 100.0%",
        "  stable   a, PSI 0.000, KS 0.000",
        "  columns added: new",
        "  columns removed: gone",
        "  columns of another type: b",
    ]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=40), st.lists(st.integers(0, 20), min_size=1, max_size=40))
def test_ks_equals_its_definition(before: list[int], after: list[int]) -> None:
    def at_most(values: list[int], limit: int) -> float:
        return sum(value <= limit for value in values) / len(values)

    wanted = max(abs(at_most(before, limit) - at_most(after, limit)) for limit in range(21))
    column = measure_drift(pl.DataFrame({"n": before}), pl.DataFrame({"n": after})).columns[0]
    assert column.ks == pytest.approx(wanted)
    assert column.psi is not None
    assert column.psi >= 0
