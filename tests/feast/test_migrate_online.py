"""Feast's Redis rows, read without Feast and served by us."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore import types as t
from featurestore.errors import OnlineStoreError, OnlineStoreUnavailableError
from featurestore.feast.migrate_online import migrate_online
from featurestore.feast.redis_rows import EntityKey, read_entity_key, read_value
from featurestore.feast.value_messages import VALUES
from featurestore.store import FeatureStore
from tests.feast.protobuf_writer import encode
from tests.feast.redis_writer import entity_key, fields_of
from tests.servers.valkey import ValkeyServer, valkey_server

NOW = datetime.now(UTC).replace(microsecond=250_000)
BIG = 2**53 + 1
DEFINITIONS = """
from featurestore import Entity, EventSource, FeatureView, types as t

driver = Entity("driver", join_keys={"driver_id": t.Int64})
place = Entity("place", join_keys={"place_id": t.String})
events = EventSource("events", event_time="ts")
stats = FeatureView("stats_view", entities=[driver], source=events, tags={"feast.name": "driver stats"},
                    features={"trips": t.Int64, "rate": t.Float32, "tags": t.List(t.String), "extra": t.String})
pair = FeatureView("pair", entities=[driver, place], source=events, features={"fare": t.Float64})
"""


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    with valkey_server(tmp_path_factory.mktemp("theirs")) as server:
        client = redis.Redis.from_url(server.url)
        row = {
            "trips": {"int64_val": BIG},
            "rate": {"float_val": 0.5},
            "tags": {"string_list_val": {"val": ["a", ""]}},
            "extra": {"map_val": {"val": [{"key": "k", "value": {"int64_val": 1}}]}},
        }
        client.hset(entity_key({"driver_id": 1}, "demo"), mapping=fields_of("driver stats", row, NOW))
        client.hset(entity_key({"driver_id": 2}, "demo"), mapping=fields_of("driver stats", {"trips": {}}, NOW))
        client.hset(entity_key({"driver_id": 3}, "mydemo"), mapping=fields_of("driver stats", row, NOW))
        client.hset(entity_key({"driver_id": 4}, "demo"), mapping=fields_of("another view", row, NOW))
        both = {"place_id": "p|", "driver_id": 1}
        client.hset(entity_key(both, "demo"), mapping=fields_of("pair", {"fare": {"int64_val": 2}}, NOW))
        client.set(b"something else", b"x")
        client.close()
        yield server


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[FeatureStore]:
    (tmp_path / "featurestore.toml").write_text('project = "rides"\n')
    (tmp_path / "definitions").mkdir()
    (tmp_path / "definitions" / "rides.py").write_text(DEFINITIONS)
    with FeatureStore(tmp_path) as store:
        store.apply()
        yield store


def test_rows_are_served_as_they_were(theirs: ValkeyServer, ours: FeatureStore) -> None:
    done = {found.view: (found.read, found.written) for found in migrate_online(ours, theirs.url, "demo")}
    assert done == {"stats_view": (2, 2), "pair": (1, 1)}
    answer = ours.get_online_features("stats_view", [{"driver_id": i} for i in (1, 2, 3, 4)])
    assert answer.to_dict() == {
        "trips": [BIG, None, None, None],
        "rate": [0.5, None, None, None],
        "tags": [["a", ""], None, None, None],
        "extra": ['{"k": 1}', None, None, None],
    }
    assert answer.statuses["trips"] == ["PRESENT", "NULL", "NOT_FOUND", "NOT_FOUND"]
    assert answer.event_times["trips"][0] == NOW
    assert ours.get_online_features("pair", [{"driver_id": 1, "place_id": "p|"}]).to_dict() == {"fare": [2.0]}


def test_a_second_migration_changes_nothing_and_newer_rows_stay(theirs: ValkeyServer, ours: FeatureStore) -> None:
    features = {"trips": 5, "rate": 1.0, "tags": ["z"], "extra": "", "fare": 1.0}
    newer = {"driver_id": 1, "place_id": "x", "ts": NOW + timedelta(microseconds=1)}
    ours.push("events", [newer | features])
    migrate_online(ours, theirs.url, "demo", ["stats_view"])
    (again,) = migrate_online(ours, theirs.url, "demo", ["stats_view"])
    assert (again.read, again.written) == (2, 0)
    assert ours.get_online_features("stats_view:trips", [{"driver_id": 1}]).to_dict() == {"trips": [5]}


def test_a_store_that_does_not_answer_is_named(ours: FeatureStore) -> None:
    with pytest.raises(OnlineStoreUnavailableError, match=r"127\.0\.0\.1:1"):
        migrate_online(ours, "redis://127.0.0.1:1/0", "demo")


@settings(deadline=None)
@given(st.dictionaries(st.text(min_size=1), st.integers(-(2**63), 2**63 - 1) | st.text(), min_size=1, max_size=4), st.text())
def test_an_entity_key_is_read_back(join_keys: dict[str, int | str], project: str) -> None:
    ordered = dict(sorted(join_keys.items()))
    assert read_entity_key(entity_key(join_keys, project)) == EntityKey(ordered, project.encode())


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_any_other_key_is_passed_over(raw: bytes) -> None:
    found = read_entity_key(raw)
    assert found is None or raw.endswith(found.project)


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ({}, t.Int64, None),
        ({"null_val": 0}, t.Int64, None),
        ({"int64_val": -(2**63)}, t.Int64, -(2**63)),
        ({"int32_val": -5}, t.Int32, -5),
        ({"double_val": 0.0}, t.Float64, 0.0),
        ({"bool_val": False}, t.Bool, False),
        ({"bytes_val": b"\x00"}, t.Bytes, b"\x00"),
        ({"unix_timestamp_val": 10}, t.Timestamp, datetime(1970, 1, 1, 0, 0, 10, tzinfo=UTC)),
        ({"unix_timestamp_val": -(2**63)}, t.Timestamp, None),
        ({"int64_list_val": {"val": [1, BIG]}}, t.List(t.Int64), [1, BIG]),
        ({"double_set_val": {"val": [1.5]}}, t.List(t.Float64), [1.5]),
        ({"list_val": {"val": [{"int64_val": 1}, {}]}}, t.List(t.Int64), [1, None]),
        ({"map_list_val": {"val": [{"val": [{"key": "a", "value": {"bool_val": True}}]}]}}, t.List(t.String), ['{"a": true}']),
        ({"decimal_val": "1.50"}, t.String, "1.50"),
    ],
)
def test_values_are_ours(value: dict[str, object], kind: t.DataType, expected: object) -> None:
    assert read_value(encode(value, "Value", VALUES), kind) == expected


def test_a_field_that_holds_no_value_says_which(theirs: ValkeyServer, ours: FeatureStore) -> None:
    client = redis.Redis.from_url(theirs.url)
    key = entity_key({"driver_id": 9}, "broken")
    client.hset(key, mapping={**fields_of("driver stats", {"trips": {"int64_val": 1}}, NOW), **_garbage()})
    client.close()
    with pytest.raises(OnlineStoreError, match="driver stats:trips"):
        migrate_online(ours, theirs.url, "broken", ["stats_view"])


def _garbage() -> dict[bytes, bytes]:
    from featurestore.feast.redis_rows import field_name

    return {field_name("driver stats", "trips"): b"\xff\xff\xff"}
