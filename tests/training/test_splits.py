"""Which part a row of a training set belongs to."""

import json
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.errors import TrainingSetError
from featurestore.training.splits import Split, make_split


def at(*texts: str) -> pl.DataFrame:
    times = [datetime.fromisoformat(text).replace(tzinfo=UTC) for text in texts]
    return pl.DataFrame({"event_timestamp": pl.Series(times, dtype=pl.Datetime("us", "UTC"))})


def test_without_a_split_every_row_is_in_the_one_part() -> None:
    assert make_split(None).parts == ("all",)
    assert make_split(None).assign(at("2013-01-01", "2014-01-01")).to_list() == ["all", "all"]


def test_the_end_of_a_range_is_not_part_of_it() -> None:
    split = make_split({"train": "..2013-10", "test": "2013-10..2013-12"})
    rows = at("2013-09-30T23:59:59.999999", "2013-10-01", "2013-11-30T23:59:59", "2013-12-01")
    assert split.assign(rows).to_list() == ["train", "test", "test", None]


def test_an_embargo_leaves_out_the_rows_just_before_the_next_part() -> None:
    split = make_split({"train": "..2013-10", "test": "2013-10.."}, embargo="2d")
    rows = at("2013-09-28T23:59:59", "2013-09-29", "2013-09-30T12:00", "2013-10-01")
    assert split.assign(rows).to_list() == ["train", None, None, "test"]


def test_the_embargo_does_not_shorten_the_last_part() -> None:
    split = make_split({"train": "..2013-10", "test": "2013-10..2013-12"}, embargo="2d")
    assert split.assign(at("2013-11-30")).to_list() == ["test"]


def test_rows_of_one_entity_stay_together() -> None:
    split = make_split({"train": 0.5, "test": 0.5}, by="plane", seed=7)
    frame = pl.DataFrame({"plane": [f"N{i % 50}" for i in range(500)]})
    parts = frame.with_columns(part=split.assign(frame)).group_by("plane").agg(pl.col("part").n_unique())
    assert parts["part"].to_list() == [1] * 50


def test_another_seed_deals_otherwise_and_the_same_seed_alike() -> None:
    frame = pl.DataFrame({"plane": [f"N{i}" for i in range(200)]})
    one, two = (make_split({"a": 0.5, "b": 0.5}, by="plane", seed=s).assign(frame).to_list() for s in (1, 2))
    assert one == make_split({"a": 0.5, "b": 0.5}, by=["plane"], seed=1).assign(frame).to_list()
    assert one != two


def test_shares_are_about_as_large_as_asked_and_the_rest_is_in_no_part() -> None:
    frame = pl.DataFrame({"id": range(20_000)})
    counts = make_split({"train": 0.7, "test": 0.2}, by="id").assign(frame).value_counts().rows()
    found = {part: count / 20_000 for part, count in counts}
    assert found == pytest.approx({"train": 0.7, "test": 0.2, None: 0.1}, abs=0.02)


def test_a_null_key_is_a_group_of_its_own() -> None:
    frame = pl.DataFrame({"id": [None, 1, None]}, schema={"id": pl.Int64})
    parts = make_split({"a": 0.5, "b": 0.5}, by="id").assign(frame).to_list()
    assert parts[0] == parts[2] is not None


@pytest.mark.parametrize(
    ("split", "options", "says"),
    [
        ({}, {}, "no parts"),
        ({"a": "2013-01..2013-03", "b": "2013-02.."}, {}, "overlap"),
        ({"a": "2013..", "b": "2014.."}, {}, "overlap"),
        ({"a": "2013-05..2013-05"}, {}, "is empty"),
        ({"a": "2013-13.."}, {}, "month must be in"),
        ({"a": "someday.."}, {}, "no instant"),
        ({"a": "2013"}, {}, "no range"),
        ({"a": 0.8, "b": 0.3}, {"by": "x"}, "at most 1"),
        ({"a": -0.1}, {"by": "x"}, "positive"),
        ({"a": 0.8}, {}, "needs `by`"),
        ({"a": 0.8}, {"by": "x", "embargo": "1d"}, "needs a split by time"),
        ({"a": "..2013"}, {"by": "x"}, "takes no `by`"),
        ({"a": 0.8, "b": "..2013"}, {"by": "x"}, "all ranges of time or all shares"),
    ],
)
def test_an_unusable_split_says_how_to_mend_it(split: dict, options: dict, says: str) -> None:
    with pytest.raises(TrainingSetError, match=says):
        make_split(split, **options)


def test_a_split_by_a_column_that_the_labels_lack_names_it() -> None:
    with pytest.raises(TrainingSetError, match="'group'"):
        make_split({"a": 1.0}, by="group").assign(pl.DataFrame({"x": [1]}))


@given(
    cuts=st.lists(st.integers(0, 10_000), min_size=2, max_size=5, unique=True).map(sorted),
    embargo=st.integers(0, 500),
    times=st.lists(st.integers(-100, 11_000), max_size=30),
)
def test_ranges_agree_with_a_row_by_row_reading(cuts: list[int], embargo: int, times: list[int]) -> None:
    epoch = datetime(2020, 1, 1, tzinfo=UTC)

    def text(seconds: int) -> str:
        return (epoch + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")

    ranges = {f"p{i}": f"{text(low)}..{text(high)}" for i, (low, high) in enumerate(zip(cuts, cuts[1:], strict=False))}
    split = make_split(ranges, embargo=f"{embargo}s")
    expected = []
    for time in times:
        part = None
        for i, (low, high) in enumerate(zip(cuts, cuts[1:], strict=False)):
            last = i == len(cuts) - 2
            if low <= time < (high if last else high - embargo):
                part = f"p{i}"
        expected.append(part)
    assert split.assign(at(*(text(time) for time in times))).to_list() == expected
    assert Split.from_data(json.loads(json.dumps(split.to_data(), sort_keys=True))) == split
