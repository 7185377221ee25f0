"""Feast's gRPC service, asked over a real channel of a service that runs as its own process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from featurestore.feast.value_messages import VALUES, read_contents
from featurestore.feast.wire import decode, schema
from featurestore.store import FeatureStore
from tests.api.served import free_port, served
from tests.feast.protobuf_writer import encode
from tests.feast.test_http import BIG, DEFINITIONS, NOW, ROWS

SERVICE = "/feast.serving.ServingService"
TOKEN = [("authorization", "Bearer secret")]
MESSAGES = {
    **VALUES,
    "Request": schema(
        feature_service=(1, "text"),
        features=(2, "FeatureList"),
        entities=(3, "Entry*"),
        full_feature_names=(4, "bool"),
        request_context=(5, "Entry*"),
    ),
    "FeatureList": schema(val=(1, "text*")),
    "Entry": schema(key=(1, "text"), value=(2, "Repeated")),
    "Response": schema(metadata=(1, "Metadata"), results=(2, "Vector*")),
    "Metadata": schema(feature_names=(1, "FeatureList")),
    "Vector": schema(values=(1, "Value*"), statuses=(2, "int*"), event_timestamps=(3, "micros*")),
}
KINDS = {int: "int64_val", str: "string_val", float: "double_val"}


@dataclass(frozen=True)
class Answer:
    """A response read by the tests' own schema."""

    names: list[str]
    values: dict[str, list[Any]]
    statuses: dict[str, list[int]]
    times: dict[str, list[int]]


class Caller:
    """A client that knows the wire format and nothing of the service."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel

    def call(self, method: str, raw: bytes = b"", metadata: Any = TOKEN) -> bytes:
        return self.channel.unary_unary(f"{SERVICE}/{method}")(raw, metadata=metadata, timeout=20)

    def ask(self, entities: dict[str, list[Any]], **request: Any) -> Answer:
        raw = self.call("GetOnlineFeatures", message(entities, **request))
        found = decode(raw, "Response", MESSAGES)
        names = found["metadata"]["feature_names"]["val"]
        vectors = dict(zip(names, found["results"], strict=True))
        return Answer(
            names,
            {name: [next(iter(value.values()), None) for value in v["values"]] for name, v in vectors.items()},
            {name: v["statuses"] for name, v in vectors.items()},
            {name: v["event_timestamps"] for name, v in vectors.items()},
        )

    def refused(self, entities: dict[str, list[Any]], **request: Any) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.RpcError) as refusal:
            self.ask(entities, **request)
        return refusal.value.code(), refusal.value.details()


def message(entities: dict[str, list[Any]], **request: Any) -> bytes:
    request = {
        "features": {"val": request["features"]} if "features" in request else None,
        "feature_service": request.get("feature_service"),
        "full_feature_names": request.get("full_feature_names"),
        "request_context": entries(request.get("request_context", {})),
        "entities": entries(entities),
    }
    return encode({name: value for name, value in request.items() if value is not None}, "Request", MESSAGES)


def entries(columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [
        {"key": name, "value": {"val": [{} if v is None else {KINDS[type(v)]: v} for v in values]}}
        for name, values in columns.items()
    ]


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    folder = tmp_path_factory.mktemp("served")
    (folder / "featurestore.toml").write_text(
        'project = "rides"\n[server]\ntoken = "secret"\nmax_entities = 10\nmax_request_bytes = 20000\n'
    )
    (folder / "definitions").mkdir()
    (folder / "definitions" / "rides.py").write_text(DEFINITIONS)
    with FeatureStore(folder) as store:
        store.apply()
        store.ingest("driver_stats", ROWS)
        store.materialize()
    port = free_port()
    with (
        served(folder, "--workers", "2", "--grpc-port", str(port), log=folder / "served.log"),
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield Caller(channel)


def test_features_by_reference_with_true_statuses(caller: Caller) -> None:
    answer = caller.ask({"driver_id": [1, 2, 3, 4, None]}, features=["driver stats:trips", "driver stats:rate"])
    assert answer.names == ["driver_id", "trips", "rate"]
    assert answer.values["driver_id"] == [1, 2, 3, 4, None]
    assert answer.values["trips"] == [BIG, None, None, None, None]
    assert answer.values["rate"] == [0.5, 0.25, None, None, None]
    assert answer.statuses["trips"] == [1, 2, 4, 3, 3]  # present, null, outside max age, not found
    assert answer.statuses["driver_id"] == [1] * 5
    moments = [NOW - timedelta(hours=1), NOW - timedelta(hours=2), NOW - timedelta(days=9)]
    assert answer.times["rate"] == [int(moment.timestamp()) * 1_000_000 for moment in moments] + [0, 0]


def test_a_service_with_request_context(caller: Caller) -> None:
    answer = caller.ask({"driver_id": [1, 2]}, feature_service="model", request_context={"extra": [10, 20]})
    assert answer.names == ["driver_id", "rate", "trips", "plus"]
    assert answer.values["plus"] == [10.5, 20.25]


def test_names_and_kinds_of_values_are_feasts(caller: Caller) -> None:
    features = ["driver stats:seen", "driver stats:raw"]
    answer = caller.ask({"driver": [1]}, features=features, full_feature_names=True)
    assert answer.names == ["driver", "driver stats__seen", "driver stats__raw"]
    assert answer.values["driver stats__seen"] == [int(NOW.timestamp())]
    assert answer.values["driver stats__raw"] == [b"\x00\xff"]


def test_no_entities_are_no_rows(caller: Caller) -> None:
    assert caller.ask({"driver_id": []}, features=["driver stats:rate"]).values == {"driver_id": [], "rate": []}


@pytest.mark.parametrize(
    ("entities", "request_", "said"),
    [
        ({"driver_id": [1]}, {"features": ["driver stats:nothing"]}, "nothing"),
        ({"driver_id": [1]}, {"features": ["driver stats"]}, "view:feature"),
        ({"driver_id": [1]}, {"features": []}, "no features"),
        ({"driver_id": [1]}, {}, "no features"),
        ({}, {"features": ["driver stats:rate"]}, "driver_id"),
        ({"driver_id": ["x"]}, {"features": ["driver stats:rate"]}, "driver_id"),
        ({"driver_id": list(range(11))}, {"features": ["driver stats:rate"]}, "at most 10"),
        ({"driver_id": [1], "extra": [1, 2]}, {"feature_service": "model"}, "different lengths"),
    ],
)
def test_what_is_wrong_is_said_with_its_code(
    caller: Caller, entities: dict[str, list[Any]], request_: dict[str, Any], said: str
) -> None:
    code, details = caller.refused(entities, **request_)
    assert code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)
    assert said in details


def test_an_unknown_service_is_not_found_with_a_hint(caller: Caller) -> None:
    code, details = caller.refused({"driver_id": [1]}, feature_service="modle")
    assert code is grpc.StatusCode.NOT_FOUND
    assert "did you mean 'model'" in details


@pytest.mark.parametrize("raw", [b"\xff", b"\x1a\xff", b"\x1a\x03\x12\x01\xff", b"\x12" + b"\x80" * 11])
def test_bytes_that_are_no_request_are_refused(caller: Caller, raw: bytes) -> None:
    with pytest.raises(grpc.RpcError) as refusal:
        caller.call("GetOnlineFeatures", raw)
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("metadata", [[], [("authorization", "Bearer wrong")], [("authorization", "Basic secret")]])
def test_the_token_is_asked_for(caller: Caller, metadata: list[tuple[str, str]]) -> None:
    for method in ("GetOnlineFeatures", "GetFeastServingInfo"):
        with pytest.raises(grpc.RpcError) as refusal:
            caller.call(method, metadata=metadata)
        assert refusal.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_a_request_that_is_too_large_is_refused(caller: Caller) -> None:
    with pytest.raises(grpc.RpcError) as refusal:
        caller.call("GetOnlineFeatures", b"\x00" * 20_001)
    assert refusal.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_the_version_and_the_health_are_told(caller: Caller) -> None:
    assert b"featurestore" in caller.call("GetFeastServingInfo")
    check = caller.channel.unary_unary("/grpc.health.v1.Health/Check")
    assert check(b"", timeout=20) == b"\x08\x01"


def test_a_port_that_is_taken_is_said_before_anything_starts(caller: Caller, tmp_path: Path) -> None:
    from featurestore.api.server import serve
    from featurestore.errors import ConfigError

    (tmp_path / "featurestore.toml").write_text('project = "rides"\n')
    target = caller.channel._channel.target().decode()
    with pytest.raises(ConfigError, match="cannot listen"):
        serve(tmp_path, grpc_port=int(target.rpartition(":")[2]))


def test_repeated_values_are_read_one_by_one() -> None:
    raw = encode({"val": [{"int32_val": -1}, {"bool_val": 1}, {"double_val": 0.5}, {"null_val": 0}, {}]}, "Repeated", VALUES)
    assert read_contents(raw) == [-1, True, 0.5, None, None]
