"""Feast's own clients against our service in a process of its own: its ``remote`` online store, its gRPC stubs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from featurestore.feast.value_messages import read_contents, write_repeated
from featurestore.registry import types as t
from featurestore.store import FeatureStore
from tests.api.served import free_port, served
from tests.feast.feast_repo import PushSource, ago, driver, feast, ft, source, statuses, view

pytestmark = [pytest.mark.feast, pytest.mark.filterwarnings("default")]

BIG = 2**53 + 1
OURS = """
import polars as pl
from featurestore import Entity, EventSource, FeatureService, FeatureView, types as t

driver = Entity("driver", join_keys={"driver_id": t.Int64})
rows = EventSource("rows", event_time="ts", arrival_time="made", tags={"feast.push_source": "stats_push"},
                   schema={"driver_id": t.Int64, "trips": t.Int64, "rate": t.Float64, "tags": t.List(t.String),
                           "seen": t.Timestamp, "ts": t.Timestamp, "made": t.Timestamp})
blobs = EventSource("blobs", event_time="ts", schema={"driver_id": t.Int64, "raw": t.Bytes, "score": t.Float64,
                                                      "empty": t.List(t.String), "ts": t.Timestamp})
stats = FeatureView("stats", entities=[driver], source=rows, ttl="1d",
                    features={"trips": t.Int64, "rate": t.Float64, "tags": t.List(t.String), "seen": t.Timestamp})
others = FeatureView("others", entities=[driver], source=blobs,
                     features={"raw": t.Bytes, "score": t.Float64, "empty": t.List(t.String)})
model = FeatureService("model", features=[stats["rate", "trips"]])
"""
ROWS = pl.DataFrame(
    {
        "driver_id": [1, 2, 3],
        "trips": [BIG, None, 7],
        "rate": [0.5, 0.25, 0.1],
        "tags": [["a", "b"], ["c"], None],
        "seen": [ago(hours=1).replace(microsecond=0)] * 3,
        "ts": [ago(hours=1), ago(hours=2), ago(hours=100)],
        "made": [ago(hours=1)] * 3,
    }
)
# What Feast's own HTTP client cannot send, and guesses wrong when it reads: for gRPC alone.
OTHERS = pl.DataFrame(
    {"driver_id": [1], "raw": [b"\x00\xff"], "score": [float("nan")], "empty": [[]], "ts": [ago(hours=1)]},
    schema_overrides={"empty": pl.List(pl.String)},
)
FIELDS = {"trips": ft.Int64, "rate": ft.Float64, "tags": ft.Array(ft.String), "seen": ft.UnixTimestamp}
DRIVERS = [{"driver_id": i} for i in (1, 2, 3, 4)]


@dataclass
class Running:
    """Our service, and a Feast repository whose online store it is."""

    store: Any
    grpc: str


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("ours")
    (folder / "featurestore.toml").write_text('project = "rides"\n')
    (folder / "definitions").mkdir()
    (folder / "definitions" / "rides.py").write_text(OURS)
    with FeatureStore(folder) as opened:
        opened.apply()
        opened.ingest("rows", ROWS)
        opened.ingest("blobs", OTHERS)
        opened.materialize()
    port = free_port()
    options = ("--server", "uvicorn", "--grpc-port", str(port))
    with served(folder, *options, log=folder / "served.log") as service:
        yield Running(remote_repository(tmp_path_factory.mktemp("feast"), service.url), f"127.0.0.1:{port}")


def remote_repository(folder: Path, url: str) -> Any:
    """What a user of Feast has: the same definitions, and ``online_store: {type: remote}``."""
    (folder / "feature_store.yaml").write_text(
        f"project: rides\nprovider: local\nregistry: {folder}/registry.db\nentity_key_serialization_version: 3\n"
        f"offline_store:\n  type: featurestore.feast.FeatureStoreOfflineStore\n"
        f"online_store:\n  type: remote\n  path: {url}\n"
    )
    store = feast.FeatureStore(repo_path=str(folder))
    who = driver()
    rows = source(folder / "rows.parquet", ROWS.rename({"ts": "event_timestamp", "made": "created"}))
    push = PushSource(name="stats_push", batch_source=rows)
    stats = view("stats", [who], push, FIELDS, ttl=timedelta(days=1))
    store.apply([who, rows, push, stats, feast.FeatureService(name="model", features=[stats[["rate", "trips"]]])])
    return store


def test_feasts_store_reads_through_us(running: Running) -> None:
    answer = running.store.get_online_features(["stats:trips", "stats:tags"], DRIVERS)
    assert answer.to_dict() == {
        "driver_id": [1, 2, 3, 4],
        "trips": [BIG, None, None, None],
        "tags": [["a", "b"], ["c"], None, None],
    }
    assert statuses(answer)["trips"] == ["PRESENT", "NULL_VALUE", "OUTSIDE_MAX_AGE", "NOT_FOUND"]


def test_a_feature_service_and_full_names(running: Running) -> None:
    service = running.store.get_feature_service("model")
    assert list(running.store.get_online_features(service, DRIVERS[:1]).to_dict()) == ["driver_id", "rate", "trips"]
    full = running.store.get_online_features(["stats:trips"], DRIVERS[:1], full_feature_names=True)
    assert full.to_dict() == {"driver_id": [1], "stats__trips": [BIG]}


def test_the_read_by_entity_keys(running: Running) -> None:
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    keys = [EntityKey(join_keys=["driver_id"], entity_values=[Value(int64_val=i)]) for i in (1, 4)]
    store = running.store
    rows = store._get_provider().online_read(store.config, store.get_feature_view("stats"), keys, ["trips"])
    assert [row[1]["trips"].WhichOneof("val") for row in rows] == ["int64_val", None]
    assert rows[0][1]["trips"].int64_val == BIG


def test_what_is_written_through_feast_is_served_at_once_and_moves_forward(running: Running) -> None:
    for trips, when in ((1, ago(hours=3)), (BIG, ago(hours=1)), (2, ago(hours=2))):
        row = {"driver_id": [50], "trips": [trips], "rate": [1.5], "tags": [["x"]], "seen": [when]}
        frame = pl.DataFrame({**row, "event_timestamp": [when], "created": [when]}).to_pandas()
        running.store.write_to_online_store("stats", frame)
        running.store.push("stats_push", frame)
    answer = running.store.get_online_features(["stats:trips", "stats:tags", "stats:seen"], [{"driver_id": 50}]).to_dict()
    assert (answer["trips"], answer["tags"]) == ([BIG], [["x"]])
    assert answer["seen"] == [int(ago(hours=1).timestamp())]  # Feast's remote store guesses types, and JSON has no instant


def test_feast_materializes_into_us(running: Running) -> None:
    before = running.store.get_online_features(["stats:trips", "stats:rate"], DRIVERS).to_dict()
    running.store.materialize(ago(hours=200), ago(hours=0))
    after = running.store.get_online_features(["stats:trips", "stats:rate"], DRIVERS).to_dict()
    assert after == before


def test_a_users_error_says_what_is_wrong(running: Running) -> None:
    with pytest.raises(RuntimeError, match=r"422.*driver_id"):
        running.store.get_online_features(["stats:trips"], [{"driver_id": "x"}])


# -- gRPC ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def stub(running: Running) -> Iterator[Any]:
    import grpc
    from feast.protos.feast.serving.ServingService_pb2_grpc import ServingServiceStub

    with grpc.insecure_channel(running.grpc) as channel:
        yield ServingServiceStub(channel)


def test_feasts_stubs_are_answered(stub: Any) -> None:
    from feast.online_response import OnlineResponse
    from feast.protos.feast.serving.ServingService_pb2 import GetFeastServingInfoRequest, GetOnlineFeaturesRequest
    from feast.protos.feast.types.Value_pb2 import Value

    assert stub.GetFeastServingInfo(GetFeastServingInfoRequest()).version.startswith("featurestore")
    asked = GetOnlineFeaturesRequest()
    asked.features.val.extend([*(f"stats:{name}" for name in FIELDS), "others:raw", "others:score", "others:empty"])
    asked.entities["driver_id"].val.extend([Value(int64_val=i) for i in (1, 2, 3, 4)])
    answer = OnlineResponse(stub.GetOnlineFeatures(asked, timeout=20))
    found = answer.to_dict()
    assert list(found) == ["driver_id", *FIELDS, "raw", "score", "empty"]
    assert found["driver_id"] == [1, 2, 3, 4]
    assert found["trips"] == [BIG, None, None, None]
    assert found["rate"] == [0.5, 0.25, None, None]
    assert found["score"][0] != found["score"][0]  # NaN is a value
    assert (found["raw"], found["empty"]) == ([b"\x00\xff", None, None, None], [[], None, None, None])
    assert found["tags"] == [["a", "b"], ["c"], None, None]
    assert found["seen"][0] == ago(hours=1).replace(microsecond=0)
    assert statuses(answer)["trips"] == ["PRESENT", "NULL_VALUE", "OUTSIDE_MAX_AGE", "NOT_FOUND"]
    assert answer.proto.results[1].event_timestamps[0].ToDatetime(UTC) == ago(hours=1)


def test_feasts_stub_is_told_what_is_wrong(stub: Any) -> None:
    import grpc
    from feast.protos.feast.serving.ServingService_pb2 import GetOnlineFeaturesRequest

    with pytest.raises(grpc.RpcError) as refusal:
        stub.GetOnlineFeatures(GetOnlineFeaturesRequest(feature_service="modle"), timeout=20)
    assert refusal.value.code() is grpc.StatusCode.NOT_FOUND
    assert "did you mean 'model'" in refusal.value.details()


def test_what_feast_sends_is_what_we_read() -> None:
    from feast.protos.feast.types import Value_pb2 as p

    sent = [
        p.Value(int32_val=-(2**31)), p.Value(int64_val=-(2**63)), p.Value(string_val="ü"), p.Value(bytes_val=b"\xff"),
        p.Value(bool_val=False), p.Value(double_val=0.1), p.Value(float_val=0.5), p.Value(unix_timestamp_val=-1),
        p.Value(int64_list_val=p.Int64List(val=[1, -1])), p.Value(string_list_val=p.StringList(val=["a", ""])),
        p.Value(double_list_val=p.DoubleList(val=[])), p.Value(null_val=0), p.Value(), p.Value(uuid_val="u"),
    ]  # fmt: skip
    assert read_contents(p.RepeatedValue(val=sent).SerializeToString()) == [
        -(2**31), -(2**63), "ü", b"\xff", False, 0.1, 0.5, datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC),
        [1, -1], ["a", ""], [], None, None, "u",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "field", "values"),
    [
        (t.Int8, "int32_val", [-128, 127]),
        (t.UInt16, "int32_val", [0, 65535]),
        (t.Int32, "int32_val", [-(2**31), 2**31 - 1]),
        (t.UInt32, "int64_val", [2**32 - 1]),
        (t.Int64, "int64_val", [-(2**63), 2**63 - 1, 0]),
        (t.Float32, "float_val", [0.5, float("inf")]),
        (t.Float64, "double_val", [0.1, -0.0]),
        (t.String, "string_val", ["", "ü" * 200]),
        (t.Bytes, "bytes_val", [b"", b"\x00" * 300]),
        (t.Bool, "bool_val", [True, False]),
        (t.Decimal(10, 2), "decimal_val", [Decimal("12.50")]),
        (t.UInt64, "decimal_val", [2**64 - 1]),
    ],
)
def test_what_we_send_is_what_feast_reads(kind: Any, field: str, values: list[Any]) -> None:
    from feast.protos.feast.types.Value_pb2 import RepeatedValue

    found = RepeatedValue.FromString(write_repeated([*values, None], kind)).val
    assert [value.WhichOneof("val") for value in found] == [field] * len(values) + [None]
    expected = [format(v, "f") if field == "decimal_val" else v for v in map(str_if(field, kind), values)]
    assert [getattr(value, field) for value in found[:-1]] == expected


def str_if(field: str, kind: Any) -> Any:
    return Decimal if field == "decimal_val" and kind == t.UInt64 else lambda value: value


def test_lists_and_records_we_send_are_what_feast_reads() -> None:
    from feast.protos.feast.types.Value_pb2 import RepeatedValue
    from feast.type_map import feast_value_type_to_python_type as plain

    when = datetime(2026, 1, 2, tzinfo=UTC)
    columns: list[tuple[Any, list[Any]]] = [
        (t.List(t.Int64), [[1, -1], [], [1, None]]),
        (t.List(t.String), [["a", ""], [None]]),
        (t.List(t.Bytes), [[b"\xff", b""]]),
        (t.List(t.Bool), [[True, False]]),
        (t.Vector(t.Float32, 2), [[0.5, 1.5]]),
        (t.List(t.Float64), [[0.1]]),
        (t.List(t.Timestamp), [[when]]),
        (t.List(t.List(t.Int32)), [[[1], [2, None]]]),
        (t.Struct({"a": t.Int64, "b": t.List(t.String)}), [{"a": 1, "b": ["x"]}, {"a": None, "b": []}]),
    ]
    for kind, values in columns:
        found = RepeatedValue.FromString(write_repeated(values, kind)).val
        assert [plain(value) for value in found] == values, kind
