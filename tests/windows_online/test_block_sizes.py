"""What ``plan`` says that keys take online is what they take."""

from __future__ import annotations

import polars as pl
import pytest

from featurestore import Aggregation, FeatureView, lifetime, sawtooth
from featurestore.materialize import materialize
from featurestore.materialize.block_sizes import measure_blocks
from featurestore.online.keys import EntityKeys, version_prefix
from featurestore.registry.block_sizes import BlockSizes, KeySizes
from featurestore.registry.plan import Plan
from featurestore.registry.serialization import version_of
from tests.online.projects import USER, SmallProject, minutes, payments, row


def spending(*aggregations: Aggregation, **options: object) -> FeatureView:
    return FeatureView("spending", entities=[USER], source="payments", aggregations=aggregations, **options)  # type: ignore[arg-type]


def doubled(events: pl.LazyFrame) -> pl.LazyFrame:
    return events.with_columns(pl.col("amount") * 2)


def land_100_users(small: SmallProject) -> None:
    """98 with one event, one with 30, one with 200; all within the last hours, one event a minute."""
    counts = {f"u{i:02}": 1 for i in range(98)} | {"often": 30, "most": 200}
    small.land([row(user, minute, 5, "ab") for user, count in counts.items() for minute in range(count)])
    small.clock.instant = minutes(240)


def bytes_held(small: SmallProject, view: FeatureView, user: str) -> int:
    (entity,) = EntityKeys(view.name, view.join_keys).of_frame(pl.DataFrame({"user": [user]}))
    (block,) = small.online.read([version_prefix("test", view.name, version_of(view)) + entity])
    assert block is not None
    return len(block)


def test_sizes_are_those_of_the_blocks_that_are_written(small: SmallProject) -> None:
    view = spending(Aggregation("amount", "sum", windows=["1d"]), Aggregation("note", "last", windows=["1d"]))
    small.apply(payments(), view)
    land_100_users(small)

    (sizes,) = measure_blocks(small, small.definitions)

    # 48 bytes of head, 8 of flags; an event: 8 of time, 8 of amount, 4 and 2 of note.
    assert sizes.keys == 100
    assert sizes.sizes == KeySizes(median=56 + 22, p99=56 + 30 * 22, largest=56 + 200 * 22)
    assert sizes.largest_key == "user=most"
    materialize(small, ["spending"])
    assert [bytes_held(small, view, user) for user in ("u00", "often", "most")] == [78, 716, 4456]


def test_sawtooth_is_recommended_where_it_takes_a_quarter(small: SmallProject) -> None:
    small.apply(payments(), spending(Aggregation("amount", "sum", windows=["1d"])))
    land_100_users(small)

    (sizes,) = measure_blocks(small, small.definitions)

    # 56 bytes of head, 56 of an empty block of events. An hour is a tile, of 200 minutes 4: 8 of time, 8 of sum.
    assert sizes.sizes == KeySizes(56 + 16, 56 + 30 * 16, 56 + 200 * 16)
    assert sizes.sawtooth == KeySizes(112 + 16, 112 + 16, 112 + 4 * 16)
    assert sizes.recommends_sawtooth


def test_it_is_not_where_every_value_is_needed_anyway(small: SmallProject) -> None:
    small.apply(payments(), spending(Aggregation("amount", "quantile", q=0.5, windows=["1d"])))
    land_100_users(small)
    (sizes,) = measure_blocks(small, small.definitions)
    assert sizes.sawtooth is not None
    assert not sizes.recommends_sawtooth


def test_keys_beyond_the_limit_are_counted_and_sawtooth_recommended(small: SmallProject) -> None:
    small.apply(payments(), spending(Aggregation("amount", "sum", windows=["1h"]), max_block_bytes=1_000))
    land_100_users(small)
    small.clock.instant = minutes(200)
    (sizes,) = measure_blocks(small, small.definitions)
    # Kept are the last 67.5 minutes: of one key 67 events; those of the others are too old.
    assert (sizes.keys, sizes.sizes.largest, sizes.beyond) == (1, 56 + 67 * 16, 1)
    assert sizes.recommends_sawtooth
    assert "1 beyond max_block_bytes=1,000: materialize refuses them" in "\n".join(sizes.lines())


def test_windows_that_are_no_sliding_ones_take_tiles_where_these_are_smaller(small: SmallProject) -> None:
    view = spending(Aggregation("amount", "sum", windows=[sawtooth("1d"), lifetime()]))
    small.apply(payments(), view)
    land_100_users(small)
    (sizes,) = measure_blocks(small, small.definitions)
    assert sizes.sizes == KeySizes(56 + 16, 112 + 16, 112 + 4 * 16)
    assert sizes.sawtooth is None
    materialize(small, ["spending"])
    assert [bytes_held(small, view, user) for user in ("u00", "often", "most")] == [72, 128, 176]


def test_where_the_view_says_so_large_keys_are_served_with_sawtooth_windows(small: SmallProject) -> None:
    view = spending(Aggregation("amount", "sum", windows=["1d"]), max_block_bytes=1_000, on_overflow="sawtooth")
    small.apply(payments(), view)
    land_100_users(small)
    (sizes,) = measure_blocks(small, small.definitions)
    assert "1 beyond max_block_bytes=1,000: served with sawtooth windows, and marked" in "\n".join(sizes.lines())
    assert sizes.sawtooth is not None
    materialize(small, ["spending"])
    assert bytes_held(small, view, "most") == sizes.sawtooth.largest == 176


def test_a_transform_is_not_run_for_it(small: SmallProject) -> None:
    view = spending(Aggregation("amount", "sum", windows=["1d"]), transform=doubled)
    small.apply(payments(), view)
    land_100_users(small)
    assert measure_blocks(small, small.definitions) == (BlockSizes("spending", "its transform would have to run"),)


def test_many_parts_count_as_one(small: SmallProject, monkeypatch: pytest.MonkeyPatch) -> None:
    small.apply(payments(), spending(Aggregation("amount", "sum", windows=["1d"])))
    land_100_users(small)
    whole = measure_blocks(small, small.definitions)
    monkeypatch.setattr("featurestore.materialize.block_sizes._ROWS_A_BUCKET", 50)
    assert measure_blocks(small, small.definitions) == whole


def test_a_source_without_data_is_skipped_with_a_word(small: SmallProject) -> None:
    small.apply(payments(), spending(Aggregation("amount", "sum", windows=["1d"])))
    assert measure_blocks(small, small.definitions) == (BlockSizes("spending", "source 'payments' has no data yet"),)
    land_100_users(small)
    small.clock.instant = minutes(60 * 24 * 30)
    (sizes,) = measure_blocks(small, small.definitions)
    assert sizes.to_dict() == {
        "view": "spending",
        "skipped": "source 'payments' has no events in reach of its windows",
    }


def test_a_lake_that_does_not_answer_fails_no_plan(small: SmallProject, monkeypatch: pytest.MonkeyPatch) -> None:
    small.apply(payments(), spending(Aggregation("amount", "sum", windows=["1d"])))
    land_100_users(small)

    def gone(*_: object) -> None:
        raise ConnectionError("the lake is gone")

    monkeypatch.setattr(type(small.lake), "table", gone)
    assert measure_blocks(small, small.definitions) == (BlockSizes("spending", "the lake is gone"),)


def test_views_without_windows_or_not_online_are_not_measured(small: SmallProject) -> None:
    offline = spending(Aggregation("amount", "sum", windows=["1d"]), online=False)
    small.apply(payments(), offline, FeatureView("notes", entities=[USER], source="payments", features=["note"]))
    land_100_users(small)
    assert measure_blocks(small, small.definitions) == ()


def test_a_plan_says_it_in_words_and_as_data(small: SmallProject) -> None:
    small.apply(payments(), spending(Aggregation("amount", "sum", windows=["1d"])))
    land_100_users(small)
    plan = Plan(0, small.definitions, (), {}, {}, (), ()).with_blocks(measure_blocks(small, small.definitions))
    assert (
        "Online, bytes a key:\n"
        "  spending: 100 keys; median 72, p99 536, largest 3,256 (user=most)\n"
        "    recommended: sawtooth windows would take about: median 128, p99 128, largest 176"
    ) in str(plan)
    assert plan.to_dict()["blocks"] == [
        {
            "view": "spending",
            "keys": 100,
            "median": 72,
            "p99": 536,
            "largest": 3256,
            "largest_key": "user=most",
            "max_block_bytes": 1 << 20,
            "keys_beyond": 0,
            "on_overflow": "error",
            "sawtooth": {"median": 128, "p99": 128, "largest": 176},
            "recommends_sawtooth": True,
        }
    ]


@pytest.mark.parametrize(
    ("function", "options"),
    [("count_distinct", {}), ("quantile", {"q": 0.9}), ("top_k", {"n": 3})],
)
def test_tiles_of_sketches_are_about_as_large_as_they_are_said_to_be(
    small: SmallProject, function: str, options: dict[str, float]
) -> None:
    view = spending(Aggregation("amount", function, windows=[sawtooth("1d", hop="1h")], approx=True, **options))
    small.apply(payments(), view)
    # One payment a second, of a thousand amounts: of one user for twenty hours, of the other for four.
    small.land([row(user, i / 60, i * 7919 % 1000) for user, hours in (("most", 20), ("some", 4)) for i in range(hours * 3600)])
    small.clock.instant = minutes(20 * 60)

    (sizes,) = measure_blocks(small, small.definitions)

    materialize(small, ["spending"])
    for user, told in (("most", sizes.sizes.largest), ("some", sizes.sizes.median)):
        assert told == pytest.approx(bytes_held(small, view, user), rel=0.25)
    assert sizes.sizes.largest > 4_000  # the sketches are what is large
