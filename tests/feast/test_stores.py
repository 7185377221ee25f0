"""Feast on our stores: where its own go wrong, ours answer right. A test names a known defect, or a rule of the interface."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.feast.feast_repo import PushSource as FeastPush
from tests.feast.feast_repo import ValueType, ago, driver, feast, ft, make_store, source, statuses, view
from tests.servers.valkey import ValkeyServer, valkey_server

pytestmark = [pytest.mark.feast, pytest.mark.filterwarnings("default")]

BIG = 2**53 + 1
STATS = pl.DataFrame(
    {
        "driver_id": [1, 1, 2, 3],
        "trips": [1, BIG, None, 7],
        "rate_y": [0.5, 0.75, 0.25, 0.1],
        "tags": [["a", None], ["b"], None, []],
        "seen": [ago(hours=1)] * 4,
        "event_timestamp": [ago(hours=3), ago(hours=1), ago(hours=2), ago(hours=100)],
        "created": [ago(hours=3), ago(hours=1), ago(hours=2), ago(hours=100)],
    }
)
FIELDS = {"trips": ft.Int64, "rate_y": ft.Float64, "tags": ft.Array(ft.String), "seen": ft.UnixTimestamp}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    with valkey_server(tmp_path_factory.mktemp("valkey")) as running:
        yield running


@pytest.fixture(scope="module")
def store(server: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("repo")
    made = make_store(folder, server.url)
    who = driver()
    rows = source(folder / "stats.parquet", STATS)
    push = FeastPush(name="stats_push", batch_source=rows)
    stats = view("stats", [who], push, FIELDS, ttl=timedelta(days=1))
    made.apply([who, rows, push, stats, feast.FeatureService(name="model", features=[stats[["rate_y", "trips"]]])])
    made.materialize(ago(hours=200), ago(hours=0))
    yield made
    made.teardown()


LABELS = pl.DataFrame(
    {
        "driver_id": [1, 2, 1, 9, 1],
        "event_timestamp": [ago(hours=2), ago(hours=0), ago(hours=0), ago(hours=0), ago(hours=2)],
        "label": [1, 0, 1, 0, 1],
    }
)


def test_every_label_row_comes_back_once_in_order_duplicates_included(store: Any) -> None:
    found = pl.from_pandas(store.get_historical_features(LABELS.to_pandas(), ["stats:rate_y"]).to_df())
    assert found["label"].to_list() == LABELS["label"].to_list()
    assert found["driver_id"].to_list() == LABELS["driver_id"].to_list()
    assert found["rate_y"].to_list() == [0.5, 0.25, 0.75, None, 0.5]


def test_integers_beyond_a_float_are_exact_beside_nulls(store: Any) -> None:
    job = store.get_historical_features(LABELS.to_pandas(), ["stats:trips"])
    assert job.to_arrow()["trips"].to_pylist() == [1, None, BIG, None, 1]
    frame = job.to_df()
    assert str(frame["trips"].dtype) == "Int64"
    assert int(frame["trips"][2]) == BIG
    online = store.get_online_features(["stats:trips"], [{"driver_id": i} for i in (1, 2)])
    assert online.to_dict()["trips"] == [BIG, None]
    assert [int(online.to_df()["trips"][0]), online.to_df()["trips"].isna().to_list()] == [BIG, [False, True]]
    assert online.to_arrow()["trips"].to_pylist() == [BIG, None]


def test_columns_of_nulls_keep_their_types(store: Any) -> None:
    refs = ["stats:trips", "stats:rate_y", "stats:tags", "stats:seen"]
    found = store.get_online_features(refs, [{"driver_id": 4}])
    assert [str(field.type) for field in found.to_arrow().schema][1:] == [
        "int64",
        "double",
        "list<item: string>",
        "timestamp[us, tz=UTC]",
    ]
    assert found.to_df().shape == (1, 5)
    assert list(found.to_arrow(include_event_timestamps=True).column_names)[2:4] == ["trips", "trips__ts"]


@pytest.mark.parametrize("odd", [{}, {"other": 1}, {"driver_id": 2, "other": 1}])
def test_an_entity_row_with_other_keys_is_named(store: Any, odd: dict[str, int]) -> None:
    with pytest.raises(Exception, match="entity row 1 has other keys"):
        store.get_online_features(["stats:trips"], [{"driver_id": 1}, odd, {"driver_id": 3}])


def test_a_request_by_columns_is_one_by_rows(store: Any) -> None:
    from feast.protos.feast.types.Value_pb2 import RepeatedValue, Value

    refs = ["stats:trips", "stats:rate_y"]
    expected = store.get_online_features(refs, [{"driver_id": i} for i in (1, 3, 4)])
    values = [Value(int64_val=i) for i in (1, 3, 4)]
    for rows in (
        {"driver_id": [1, 3, 4]},
        {"driver_id": values},
        {"driver_id": RepeatedValue(val=values)},
        {"driver": [1, 3, 4]},
    ):
        found = store.get_online_features(refs, rows)
        assert found.to_dict() == expected.to_dict()
        assert found.proto == expected.proto


def test_a_range_without_labels_gives_the_rows_of_the_range(store: Any) -> None:
    found = store.get_historical_features(None, ["stats:trips"], start_date=ago(hours=10), end_date=ago(hours=0)).to_arrow()
    assert found["driver_id"].to_pylist() == [1, 1, 2]
    assert found["trips"].to_pylist() == [1, BIG, None]


def test_labels_by_query_are_labels(store: Any) -> None:
    query = f"select 1 as driver_id, timestamptz '{ago(hours=2).isoformat()}' as event_timestamp"
    assert store.get_historical_features(query, ["stats:trips"]).to_arrow()["trips"].to_pylist() == [1]


@pytest.mark.parametrize("taken", ["rate_y", "trips"])
def test_a_label_column_named_like_a_feature_is_refused_until_names_are_full(store: Any, taken: str) -> None:
    labels = LABELS.rename({"label": taken}).to_pandas()
    with pytest.raises(Exception, match=taken):
        store.get_historical_features(labels, [f"stats:{taken}"])
    found = store.get_historical_features(labels, [f"stats:{taken}"], full_feature_names=True).to_arrow()
    assert found[taken].to_pylist() == LABELS["label"].to_list()
    expected = store.get_historical_features(LABELS.to_pandas(), [f"stats:{taken}"]).to_arrow()[taken]
    assert found[f"stats__{taken}"] == expected


@pytest.mark.parametrize("taken", ["rate", "rate_x", "rate_y_y", "trips_y"])
def test_label_columns_that_are_nearly_named_like_features_stay(store: Any, taken: str) -> None:
    labels = LABELS.rename({"label": taken}).to_pandas()
    found = store.get_historical_features(labels, ["stats:rate_y", "stats:trips"]).to_arrow()
    assert found.column_names == [*labels.columns, "rate_y", "trips"]
    assert found[taken].to_pylist() == LABELS["label"].to_list()
    assert found["rate_y"].to_pylist() == [0.5, 0.25, 0.75, None, 0.5]


def test_a_missing_join_key_is_named(store: Any) -> None:
    with pytest.raises(Exception, match="driver_id"):
        store.get_historical_features(LABELS.drop("driver_id").to_pandas(), ["stats:trips"])


def test_statuses_are_true_and_what_expired_is_not_served(store: Any) -> None:
    answer = store.get_online_features(["stats:trips", "stats:rate_y"], [{"driver_id": i} for i in (1, 2, 3, 4)])
    assert answer.to_dict()["rate_y"] == [0.75, 0.25, None, None]
    assert statuses(answer)["rate_y"] == ["PRESENT", "PRESENT", "OUTSIDE_MAX_AGE", "NOT_FOUND"]
    assert statuses(answer)["trips"] == ["PRESENT", "NULL_VALUE", "OUTSIDE_MAX_AGE", "NOT_FOUND"]


def test_columns_come_in_the_order_asked_for(store: Any) -> None:
    refs = ["stats:trips", "stats:seen", "stats:tags", "stats:rate_y"]
    assert list(store.get_online_features(refs, [{"driver_id": 1}]).to_dict()) == [
        "driver_id",
        "trips",
        "seen",
        "tags",
        "rate_y",
    ]
    service = store.get_feature_service("model")
    assert list(store.get_online_features(service, [{"driver_id": 1}]).to_dict()) == ["driver_id", "rate_y", "trips"]


def test_entities_may_repeat(store: Any) -> None:
    answer = store.get_online_features(["stats:trips"], [{"driver_id": i} for i in (1, 2, 1)])
    assert answer.to_dict() == {"driver_id": [1, 2, 1], "trips": [BIG, None, BIG]}


def test_instants_keep_their_fractions(store: Any) -> None:
    answer = store.get_online_features(["stats:seen"], [{"driver_id": 1}])
    assert answer.to_dict()["seen"] == [ago(hours=1)]
    assert answer.proto.results[1].event_timestamps[0].ToDatetime(UTC) == ago(hours=1)


def test_nulls_in_lists_stay(store: Any) -> None:
    found = store.get_historical_features(LABELS[:1].to_pandas(), ["stats:tags"]).to_arrow()
    assert found["tags"].to_pylist() == [["a", None]]


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_instants_without_a_zone_are_utc_in_lists_too(server: ValkeyServer, tmp_path: Path, unit: Any) -> None:
    made = make_store(tmp_path, server.url, project=f"zones_{unit}")
    who, naive = driver(), datetime(2026, 1, 2, 3)  # noqa: DTZ001 - as files without a zone have it
    rows = pl.DataFrame({"driver_id": [1], "times": [[naive, None]], "at": [naive], "event_timestamp": [ago(hours=1)]})
    rows = rows.with_columns(pl.col("at").dt.cast_time_unit(unit), pl.col("times").cast(pl.List(pl.Datetime(unit))))
    fields = {"times": ft.Array(ft.UnixTimestamp), "at": ft.UnixTimestamp}
    made.apply([who, view("stats", [who], source(tmp_path / "s.parquet", rows), fields)])
    found = made.get_historical_features(LABELS[1:3].to_pandas(), ["stats:times", "stats:at"]).to_arrow()
    assert found["times"].to_pylist() == [None, [naive.replace(tzinfo=UTC), None]]
    assert found["at"].to_pylist() == [None, naive.replace(tzinfo=UTC)]


def test_asynchronous_answers_are_the_same(store: Any) -> None:
    refs, rows = ["stats:trips", "stats:tags", "stats:rate_y"], [{"driver_id": i} for i in (1, 2, 3, 4)]

    async def ask() -> Any:
        answers = await asyncio.gather(*(store.get_online_features_async(refs, rows) for _ in range(5)))
        await store._get_provider().online_store.close()
        return answers

    expected = store.get_online_features(refs, rows)
    for answer in asyncio.run(ask()):
        assert answer.to_dict() == expected.to_dict()
        assert statuses(answer) == statuses(expected)


def test_views_are_served_while_they_are_materialized(store: Any) -> None:
    from feast.feature_view import FeatureViewState

    stats = store.get_feature_view("stats")
    before = stats.state
    stats.state = FeatureViewState.MATERIALIZING
    store.registry.apply_feature_view(stats, store.project)
    try:
        assert store.get_online_features(["stats:trips"], [{"driver_id": 1}]).to_dict()["trips"] == [BIG]
    finally:
        stats.state = before
        store.registry.apply_feature_view(stats, store.project)


# -- writing -------------------------------------------------------------------------------------------------------------


def pushed(trips: int, when: datetime) -> Any:
    rows = {"driver_id": [50], "trips": [trips], "rate_y": [1.0], "tags": [["x"]], "seen": [when]}
    return pl.DataFrame({**rows, "event_timestamp": [when], "created": [when]}).to_pandas()


def test_an_older_row_never_overwrites_a_newer_one(store: Any) -> None:
    for trips, when in ((1, ago(hours=2)), (3, ago(hours=0)), (2, ago(hours=1))):
        store.push("stats_push", pushed(trips, when))
        store.write_to_online_store("stats", pushed(trips, when))
    assert store.get_online_features(["stats:trips"], [{"driver_id": 50}]).to_dict()["trips"] == [3]


def test_materializing_in_pieces_and_out_of_order_ends_the_same(server: ValkeyServer, tmp_path: Path) -> None:
    made = make_store(tmp_path, server.url, project="pieces")
    who = driver()
    stats = view("stats", [who], source(tmp_path / "stats.parquet", STATS), FIELDS)
    made.apply([who, stats])
    made.materialize(ago(hours=2), ago(hours=0))
    made.materialize(ago(hours=200), ago(hours=2))
    answer = made.get_online_features(["stats:trips"], [{"driver_id": i} for i in (1, 2, 3)])
    assert answer.to_dict()["trips"] == [BIG, None, 7]


def test_a_corrected_row_of_the_same_instant_takes_the_place_of_the_old_one(server: ValkeyServer, tmp_path: Path) -> None:
    made = make_store(tmp_path, server.url, project="corrected")
    who, when = driver(), [ago(hours=1)] * 3
    for keys, trips in (([2, 1, 1], [5, 6, 7]), ([1, 1, 2], [6, 8, 9])):  # of rows of one instant the last counts
        rows = pl.DataFrame({"driver_id": keys, "trips": trips, "event_timestamp": when})
        made.apply([who, view("stats", [who], source(tmp_path / "stats.parquet", rows), {"trips": ft.Int64})])
        made.materialize(ago(hours=2), ago(hours=0))
    answer = made.get_online_features(["stats:trips"], [{"driver_id": i} for i in (1, 2)])
    assert answer.to_dict()["trips"] == [8, 9]


@pytest.mark.parametrize(("unit", "zone"), [("ms", "UTC"), ("us", None), ("ns", "Europe/Berlin")])
def test_a_range_takes_its_rows_whatever_the_files_say_of_themselves(
    server: ValkeyServer, tmp_path: Path, unit: Any, zone: str | None
) -> None:
    made = make_store(tmp_path, server.url, project=f"range_{unit}")
    who = driver()
    times = [ago(hours=hours).replace(microsecond=0) for hours in (1, 2, 3)]
    rows = pl.DataFrame({"driver_id": [1, 2, 3], "trips": [1, 2, 3], "event_timestamp": times})
    rows = rows.with_columns(pl.col("event_timestamp").dt.cast_time_unit(unit).dt.convert_time_zone(zone or "UTC"))
    if zone is None:
        rows = rows.with_columns(pl.col("event_timestamp").dt.replace_time_zone(None))
    made.apply([who, view("stats", [who], source(tmp_path / "stats.parquet", rows), {"trips": ft.Int64})])

    def online() -> list[int | None]:
        return made.get_online_features(["stats:trips"], [{"driver_id": i} for i in (1, 2, 3)]).to_dict()["trips"]

    made.materialize(times[1], times[1])
    assert online() == [None, 2, None]
    pl.concat([rows, rows[:1].with_columns(trips=9, event_timestamp=None)], how="vertical_relaxed").write_parquet(
        tmp_path / "stats.parquet"
    )
    made.materialize(times[2], times[0] - timedelta(seconds=1))
    assert online() == [None, 2, 3]
    made.materialize(times[2], times[0])
    assert online() == [1, 2, 3]


def test_a_teardown_touches_its_own_project_only(server: ValkeyServer, tmp_path: Path) -> None:
    stores = {name: make_store(tmp_path / name, server.url, project=name) for name in ("demo2", "mydemo2", "demo22")}
    for name, made in stores.items():
        who = driver()
        made.apply([who, view("stats", [who], source(tmp_path / f"{name}.parquet", STATS), FIELDS)])
        made.materialize(ago(hours=200), ago(hours=0))
    stores["demo2"].teardown()
    for name in ("mydemo2", "demo22"):
        assert stores[name].get_online_features(["stats:trips"], [{"driver_id": 1}]).to_dict()["trips"] == [BIG]


def test_a_view_that_is_removed_takes_its_own_rows_only(server: ValkeyServer, tmp_path: Path) -> None:
    made = make_store(tmp_path, server.url, project="removal")
    who, rows = driver(), source(tmp_path / "stats.parquet", STATS)
    gone, kept = view("stats", [who], rows, FIELDS), view("stats_2", [who], rows, FIELDS)
    made.apply([who, gone, kept])
    made.materialize(ago(hours=200), ago(hours=0))
    made.apply([], objects_to_delete=[gone], partial=False)
    assert made.get_online_features(["stats_2:trips"], [{"driver_id": 1}]).to_dict()["trips"] == [BIG]
    online = made._get_provider().online_store
    assert not list(online.store(made.config).scan(online.layout(made.config, gone).prefix))


def test_rows_of_an_earlier_schema_are_read_for_what_they_are(server: ValkeyServer, tmp_path: Path) -> None:
    made = make_store(tmp_path, server.url, project="schema")
    who, rows = driver(), source(tmp_path / "stats.parquet", STATS)
    made.apply([who, view("stats", [who], rows, {"trips": ft.Int64})])
    made.materialize(ago(hours=200), ago(hours=0))
    made.apply([who, view("stats", [who], rows, {"rate_y": ft.Float64, "trips": ft.Int64})])
    fresh = make_store(tmp_path, server.url, project="schema")
    answer = fresh.get_online_features(["stats:trips", "stats:rate_y"], [{"driver_id": 1}])
    assert answer.to_dict() == {"driver_id": [1], "trips": [BIG], "rate_y": [None]}


# -- keys ----------------------------------------------------------------------------------------------------------------


def test_several_entities_aliases_and_views_without_entities(server: ValkeyServer, tmp_path: Path) -> None:
    made = make_store(tmp_path, server.url, project="keys")
    place = feast.Entity(name="place", join_keys=["place_id"], value_type=ValueType.STRING)
    who = driver()
    when = [ago(hours=1)] * 2
    weather = view(
        "weather",
        [place],
        source(tmp_path / "w.parquet", pl.DataFrame({"place_id": ["a|b", "c{"], "wind": [1.0, 2.0], "event_timestamp": when})),
        {"wind": ft.Float64},
    )
    pair = view(
        "pair",
        [who, place],
        source(
            tmp_path / "p.parquet",
            pl.DataFrame({"driver_id": [1, 2], "place_id": ["a|b", "c{"], "fare": [5, 6], "event_timestamp": when}),
        ),
        {"fare": ft.Int64},
    )
    world = view(
        "world",
        [],
        source(tmp_path / "g.parquet", pl.DataFrame({"index": [1, 2], "event_timestamp": [ago(hours=2), ago(hours=1)]})),
        {"index": ft.Int64},
    )
    trip = feast.FeatureService(
        name="trip",
        features=[
            weather.with_name("start").with_join_key_map({"place_id": "start_id"}),
            weather.with_name("stop").with_join_key_map({"place_id": "stop_id"}),
        ],
    )
    made.apply([place, who, weather, pair, world, trip])
    made.materialize(ago(hours=200), ago(hours=0))
    rows = [{"start_id": "a|b", "stop_id": "c{"}, {"start_id": "zz", "stop_id": "a|b"}]
    service = made.get_feature_service("trip")
    online = made.get_online_features(service, rows, full_feature_names=True).to_dict()
    assert (online["start__wind"], online["stop__wind"]) == ([1.0, None], [2.0, 1.0])
    labels = pl.DataFrame({**pl.DataFrame(rows).to_dict(as_series=False), "event_timestamp": [ago(hours=0)] * 2}).to_pandas()
    found = made.get_historical_features(labels, service, full_feature_names=True).to_arrow()
    assert (found["start__wind"].to_pylist(), found["stop__wind"].to_pylist()) == ([1.0, None], [2.0, 1.0])
    both = made.get_online_features(["pair:fare", "world:index"], [{"place_id": "c{", "driver_id": 2}]).to_dict()
    assert (both["fare"], both["index"]) == ([6], [2])
    joined = pl.DataFrame({"driver_id": [2], "place_id": ["c{"], "event_timestamp": [ago(hours=0)]}).to_pandas()
    wide = made.get_historical_features(joined, ["pair:fare", "world:index"]).to_arrow()
    assert (wide["fare"].to_pylist(), wide["index"].to_pylist()) == ([6], [2])
    made.teardown()


def test_a_hot_key_with_many_labels_is_answered_row_by_row(server: ValkeyServer, tmp_path: Path) -> None:
    made = make_store(tmp_path, server.url, project="hot")
    who, count = driver(), 20_000
    rows = pl.DataFrame({"driver_id": [1] * count, "trips": range(count)}).with_columns(
        event_timestamp=pl.lit(ago(hours=10)) + pl.duration(seconds=pl.col("trips"))
    )
    made.apply([who, view("stats", [who], source(tmp_path / "s.parquet", rows), {"trips": ft.Int64})])
    labels = rows.select("driver_id", "event_timestamp", expected="trips").sample(fraction=1.0, shuffle=True, seed=7)
    found = made.get_historical_features(labels.to_pandas(), ["stats:trips"]).to_arrow()
    assert found["trips"].to_pylist() == labels["expected"].to_list()


@pytest.mark.parametrize("row_group", [3, 10, 100])
def test_a_file_is_read_in_pieces_of_its_row_groups_and_the_last_of_equal_rows_answers(
    row_group: int, server: ValkeyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featurestore.feast.stores.historical.PART_ROWS", 7)
    made = make_store(tmp_path, server.url, project=f"groups{row_group}")
    who, count = driver(), 20
    instants = [ago(hours=50 - number // 4) for number in range(count)]
    rows = pl.DataFrame(
        {"driver_id": [number % 2 for number in range(count)], "trips": range(count), "event_timestamp": instants}
    )
    stats = source(tmp_path / "s.parquet", rows)
    rows.write_parquet(tmp_path / "s.parquet", row_group_size=row_group)
    made.apply([who, view("stats", [who], stats, {"trips": ft.Int64})])
    labels = pl.DataFrame(
        {"driver_id": [0, 1, 1, 0, 7], "event_timestamp": [instants[0], instants[0], instants[-1], instants[9], instants[-1]]}
    )
    found = made.get_historical_features(labels.to_pandas(), ["stats:trips"]).to_arrow()
    assert found["trips"].to_pylist() == [2, 3, 19, 10, None]
